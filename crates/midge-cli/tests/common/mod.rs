//! The command, and brokers of their own processes.

#![allow(dead_code, unreachable_pub)] // each test binary includes it and uses its share
#![allow(clippy::unwrap_used)] // a test may fail

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

pub fn midge() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_midge"));
    for variable in ["MQTT_URL", "MQTT_HOST", "MQTT_PORT"] {
        command.env_remove(variable);
    }
    command
}

pub fn output(arguments: &[&str]) -> Output {
    midge().args(arguments).output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A broker of its own process, killed with the test.
pub struct Server {
    child: Child,
    pub url: String,
    log: BufReader<ChildStderr>,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        Self::of(midge(), arguments)
    }

    /// A broker that another command begins: with `env`, `sh`.
    pub fn of(mut command: Command, arguments: &[&str]) -> Self {
        command.args(["serve", "--listen", "tcp://127.0.0.1:0"]);
        Self::spawn(command, arguments)
    }

    /// A broker that listens where the arguments say, and nowhere else.
    pub fn listening(arguments: &[&str]) -> Self {
        let mut command = midge();
        command.arg("serve");
        Self::spawn(command, arguments)
    }

    fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        let mut child = command
            .arg("--print-url")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        Self {
            log: BufReader::new(child.stderr.take().unwrap()),
            child,
            url: url.trim().to_owned(),
        }
    }

    /// Host and port.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("mqtt://").unwrap()
    }

    pub fn send(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Reads the log to the first line that has this in it. What was read.
    pub fn log_until(&mut self, what: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "{lines:#?}");
            let is_it = line.contains(what);
            lines.push(line);
            if is_it {
                return lines;
            }
        }
    }

    /// Waits for its end without reading its log, and reads the log then.
    pub fn end(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        (status.code().unwrap_or(-1), log)
    }

    pub fn signal(self, name: &str) -> (i32, String) {
        self.send(name);
        self.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
