//! Clients that write without pause, and remember what was acknowledged.
//!
//! Each client is the engine's own, as a process: it is given one line with one row, and gives one line with the row's
//! number back. That answer is the acknowledgement. Rows are numbered from 1, so that a count says which they are.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::writers::Meter;

/// How many write at once.
pub(crate) const CLIENTS: usize = 2;

/// Between two rows an application does something else; it also keeps the copies small.
const THINKING: Duration = Duration::from_millis(2);

/// The line that inserts a row, by its number.
pub(crate) type Insert = Box<dyn Fn(u64) -> String + Send>;

/// All clients of one application. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Load {
    clients: Vec<(Child, Arc<Meter>)>,
}

impl Load {
    /// Starts one client for each command; clients are told apart by their place in the list.
    pub(crate) fn start(clients: impl IntoIterator<Item = (Command, Insert)>) -> std::io::Result<Self> {
        let mut load = Self { clients: Vec::new() };
        for (command, insert) in clients {
            load.clients.push(start(command, insert)?);
        }
        Ok(load)
    }

    /// How many rows of each client were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        self.clients.iter().map(|(_, meter)| meter.progress().written).collect()
    }

    /// The longest wait for an acknowledgement since the mark, one that is still waited for included.
    pub(crate) fn longest_stall(&self) -> Duration {
        let stalls = self.clients.iter().map(|(_, meter)| meter.progress().longest_stall());
        stalls.max().unwrap_or_default()
    }

    /// Forgets the waits so far.
    pub(crate) fn mark(&self) {
        for (_, meter) in &self.clients {
            meter.mark();
        }
    }

    /// Whether every client has written `more` rows since `since`.
    ///
    /// # Errors
    /// When one has stopped by itself.
    pub(crate) fn goes_on(&self, since: &[u64], more: u64) -> Result<bool, String> {
        if let Some(reason) = self.clients.iter().find_map(|(_, meter)| meter.progress().stopped) {
            return Err(format!("a client has stopped: {reason}"));
        }
        Ok(self.acknowledged().iter().zip(since).all(|(now, then)| *now >= then + more))
    }
}

impl Drop for Load {
    /// The thread beside each client ends with it.
    fn drop(&mut self) {
        for (child, meter) in &mut self.clients {
            meter.stop();
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(mut command: Command, insert: Insert) -> std::io::Result<(Child, Arc<Meter>)> {
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let (Some(mut asked), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("a client has no pipes"));
    };
    let meter = Arc::new(Meter::new());
    let theirs = Arc::clone(&meter);
    std::thread::spawn(move || {
        let (mut answers, mut row) = (BufReader::new(answers), 0);
        theirs.drive(THINKING, || {
            row += 1;
            writeln!(asked, "{}", insert(row)).map_err(|error| error.to_string())?;
            acknowledged(&mut answers, row)
        });
    });
    Ok((child, meter))
}

fn acknowledged(answers: &mut impl BufRead, row: u64) -> Result<(), String> {
    let mut answer = String::new();
    answers.read_line(&mut answer).map_err(|error| error.to_string())?;
    match answer.trim() {
        "" => Err(format!("the client ended at row {row}")),
        number if number == row.to_string() => Ok(()),
        other => Err(format!("row {row} was answered with {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait_until;

    const LIMIT: Duration = Duration::from_secs(20);

    fn echoing(insert: fn(u64) -> String) -> Load {
        Load::start([(Command::new("cat"), Box::new(insert) as Insert)]).unwrap()
    }

    #[test]
    fn what_is_answered_with_its_number_is_acknowledged() {
        let load = echoing(|row| row.to_string());
        wait_until("ten rows", LIMIT, || load.goes_on(&[0], 10).unwrap()).unwrap();
        assert!(load.acknowledged()[0] >= 10);
    }

    #[test]
    fn another_answer_is_no_acknowledgement() {
        let load = echoing(|row| (row + 1).to_string());
        let stopped =
            || load.goes_on(&[0], 1).is_err_and(|error| error.contains("row 1 was answered with 2"));
        wait_until("it stops", LIMIT, stopped).unwrap();
        assert_eq!(load.acknowledged(), [0]);
    }
}
