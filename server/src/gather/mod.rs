//! Joining what chunks left: the manifest, and the gather steps that the server does itself.
