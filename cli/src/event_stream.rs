//! Reads `text/event-stream`: bytes in any pieces become events.
use crate::exit::{Exit, Failure};

/// A page of log lines is far below; what is longer is no event.
const EVENT_BYTES: usize = 64 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub kind: String,
    pub id: Option<String>,
    pub data: String,
}

/// Holds what has come of the event that is not yet whole.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    after_return: bool,
}

impl Parser {
    /// The events that these bytes complete. Comments are signs of life and say nothing.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Failure> {
        let mut whole = Vec::new();
        for byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    whole.extend(self.take_line(&String::from_utf8_lossy(&line)));
                }
                byte => self.line.push(*byte),
            }
            if self.line.len() + self.event.data.len() > EVENT_BYTES {
                return Err(Failure::new(
                    Exit::Unreachable,
                    "the server's event stream makes no sense: an event without end",
                ));
            }
        }
        Ok(whole)
    }

    fn take_line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.kind = value.to_owned(),
            // Comments, `retry`, and what later versions may say.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let stream = ": hello\n\nid: 7\nevent: lines\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata:x\n\nid: 9\n\ndata: half";
        let expected = [
            Event { kind: "lines".to_owned(), id: Some("7".to_owned()), data: "{\"a\":\n1}".to_owned() },
            Event { kind: String::new(), id: None, data: "x".to_owned() },
        ];
        for size in [1, 2, 3, 7, stream.len()] {
            let mut parser = Parser::default();
            let events: Vec<Event> =
                stream.as_bytes().chunks(size).flat_map(|piece| parser.push(piece).expect("events")).collect();
            assert_eq!(events, expected, "pieces of {size}");
        }
    }
}
