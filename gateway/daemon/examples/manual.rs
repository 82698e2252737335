//! Writes what a package has beside the programs: their man pages and the shells' completions, from the programs' own
//! definitions of their command lines.
//!
//! `cargo run --package nat-gateway --example manual -- DIRECTORY` fills `DIRECTORY/man` and `DIRECTORY/completions`.

use std::error::Error;
use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(directory) = std::env::args().nth(1) else { return Err("usage: manual DIRECTORY".into()) };
    let [man, completions] = ["man", "completions"].map(|name| Path::new(&directory).join(name));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    let programs =
        [nat_gateway::cli::Cli::command(), natctl::Natctl::command(), nat_trafficgen::args::Cli::command()];
    for program in programs {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            generate_to(shell, &mut program.clone(), program.get_name(), &completions)?;
        }
        write_pages(program, &man)?;
    }
    Ok(())
}

/// A page for a program and one for each of its commands, of section 8: for administrators.
fn write_pages(mut program: Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    program.build();
    let commands = program.get_subcommands().filter(|command| command.get_name() != "help").cloned();
    let pages: Vec<Command> = commands.chain([program.clone()]).collect();
    for page in pages {
        let name = page.get_display_name().unwrap_or(page.get_name()).to_owned();
        let file = directory.join(format!("{name}.8"));
        clap_mangen::Man::new(page).section("8").render(&mut fs::File::create(file)?)?;
    }
    Ok(())
}
