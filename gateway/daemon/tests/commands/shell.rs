//! A shell that reads commands and runs none: whatever program it would start is noted with its arguments. So pipes, loops,
//! quotes and variables are understood as the reader's shell understands them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::pages::root;

/// A directory that looks like the repository, with stubs in the place of scripts and programs.
pub(crate) struct Shell(TempDir);

/// Bash calls this in place of a program that it does not find, and it finds none.
const NOTE: &str = r#"command_not_found_handle() { printf '%s\0' "$@" >"$CALLS/$BASHPID"; }"#;

/// In the place of a program with a path.
const STUB: &str = "#!/bin/sh\nprintf '%s\\0' \"$0\" \"$@\" >\"$CALLS/$$\"\n";

impl Shell {
    pub(crate) fn new() -> Shell {
        let folder = tempfile::tempdir().expect("a directory");
        let at = folder.path();
        for name in ["calls", "scripts", "target/release"] {
            fs::create_dir_all(at.join(name)).expect("a directory");
        }
        for name in ["config", "docker", "gateway"] {
            symlink(root().join(name), at.join(name)).expect("a link");
        }
        for entry in fs::read_dir(root().join("scripts")).expect("the scripts") {
            stub(&at.join("scripts").join(entry.expect("an entry").file_name()));
        }
        for name in ["nat-gateway", "natctl", "nat-trafficgen"] {
            stub(&at.join("target/release").join(name));
        }
        Shell(folder)
    }

    /// The programs that a command starts, each with its arguments, or why it cannot be read.
    pub(crate) fn read(&self, command: &str) -> Result<Vec<Vec<String>>, String> {
        // Redirections are the shell's own doing.
        let targets = command.split('>').skip(1).map(|rest| rest.trim_start());
        let mut paths = targets.filter_map(|rest| rest.split_whitespace().next());
        if let Some(path) = paths.find(|path| path.contains('/') && !path.starts_with("/dev/null")) {
            return Err(format!("writes to {path}"));
        }
        let calls = self.0.path().join("calls");
        let line = format!("set -e -o pipefail\n{NOTE}\n{command}\nwait");
        let mut shell = Command::new("/bin/bash");
        shell.args(["-c", &line]).current_dir(self.0.path()).stdin(Stdio::null());
        shell.env_clear().envs([("PATH", "/nowhere"), ("TOKEN", "secret")]).env("CALLS", &calls);
        let output = shell.output().expect("a shell");
        let mut read = Vec::new();
        for entry in fs::read_dir(&calls).expect("a directory") {
            let file = entry.expect("an entry").path();
            let call = fs::read_to_string(&file).expect("a call");
            fs::remove_file(file).expect("ours");
            read.push(call.split_terminator('\0').map(str::to_owned).collect());
        }
        if output.status.success() && output.stderr.is_empty() {
            return Ok(read);
        }
        Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim_end()))
    }
}

fn stub(file: &Path) {
    fs::write(file, STUB).expect("a stub");
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("ours");
}
