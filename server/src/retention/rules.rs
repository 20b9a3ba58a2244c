//! What the operator of the server wants to be kept, and how long. By default everything, for ever.
use dsg_schemas::spec;
use dsg_schemas::units::{Bytes, Millis};

/// Times count from the end of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub logs: Option<Millis>,
    pub outputs: Option<Millis>,
    /// Rows, and with them everything.
    pub jobs: Option<Millis>,
    /// Jobs that did not succeed keep what they have so many times as long.
    pub failed_times: u32,
    /// Of the logs and outputs of all ended jobs together.
    pub size: Option<Bytes>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { logs: None, outputs: None, jobs: None, failed_times: 2, size: None }
    }
}

impl Rules {
    /// What a job file asks for in vain, one sentence each.
    pub fn warnings(&self, asked: &spec::Retention) -> Vec<String> {
        let spec::Retention { logs, outputs } = asked;
        let warning = |what: &str, asked: Option<Millis>, most: Option<Millis>| {
            let (asked, most) = asked.zip(most).filter(|(asked, most)| asked > most)?;
            Some(format!("`retention.{what}: {asked}` is longer than this server keeps {what}: they go after {most}"))
        };
        // When the row goes, so does the rest.
        let least = |one: Option<Millis>| [one, self.jobs].into_iter().flatten().min();
        [warning("logs", *logs, least(self.logs)), warning("outputs", *outputs, least(self.outputs))]
            .into_iter()
            .flatten()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_told_what_it_will_not_get() {
        let rules = Rules { logs: Some(Millis(5000)), jobs: Some(Millis(9000)), ..Rules::default() };
        let asked = |logs, outputs| spec::Retention { logs: Some(Millis(logs)), outputs: Some(Millis(outputs)) };
        assert_eq!(rules.warnings(&asked(5000, 9000)), Vec::<String>::new());
        let told = rules.warnings(&asked(6000, 10_000));
        assert!(told.len() == 2 && told[0].contains("6s") && told[0].contains("after 5s"), "{told:?}");
        assert!(told[1].contains("`retention.outputs: 10s`") && told[1].contains("after 9s"), "{told:?}");
        assert_eq!(Rules::default().warnings(&asked(u64::MAX, u64::MAX)), Vec::<String>::new());
    }
}
