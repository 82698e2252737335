//! `[dpdk]`: CPUs, memory and what else DPDK is started with.

use toml::de::DeValue;

use super::table_reader::Section;
use super::value::{self, Refusal};

/// How DPDK is started and how its CPUs are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dpdk {
    /// CPU of the management thread.
    pub main_lcore: u16,
    /// CPU of each worker, in worker order. One that stands twice, or is [`Dpdk::main_lcore`], is shared.
    pub worker_lcores: Vec<u16>,
    /// Where buffers and tables live.
    pub memory: Memory,
    /// Further EAL arguments, as they are.
    pub eal_args: Vec<String>,
    /// What a worker does when no packet waits.
    pub idle: Idle,
}

/// Where buffers and tables live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Huge pages if enough are free, else ordinary memory with a warning.
    Auto,
    /// Huge pages, or no start.
    HugePages,
    /// Ordinary memory.
    NoHuge,
}

/// What a worker does when no packet waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Ask again: the CPU is the worker's alone.
    Poll,
    /// Yield, then sleep up to 50 us: the CPU is shared.
    Backoff,
}

impl Memory {
    /// The word of the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Memory::Auto => "auto",
            Memory::HugePages => "hugepages",
            Memory::NoHuge => "no-huge",
        }
    }
}

impl Idle {
    /// The word of the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Idle::Poll => "poll",
            Idle::Backoff => "backoff",
        }
    }
}

pub(super) fn read(section: &mut Section<'_>) -> Option<Dpdk> {
    let main_lcore = section.or("main_lcore", 0, value::integer(0..=CPU_MAX));
    let worker_lcores = section.optional("worker_lcores", lcores);
    let wrong_lcores = worker_lcores.is_none() && section.has("worker_lcores");
    let choices = [Memory::Auto, Memory::HugePages, Memory::NoHuge].map(|memory| (memory.name(), memory));
    let memory = section.or("memory", Memory::Auto, value::choice(&choices));
    let eal_args = section.list("eal_args", value::text("a string without NUL", argument));
    let choices = [Idle::Poll, Idle::Backoff].map(|idle| (idle.name(), idle));
    let idle = section.or("idle", Idle::Backoff, value::choice(&choices));
    let eal_args = eal_args?;
    (!wrong_lcores).then(|| Dpdk {
        main_lcore: main_lcore.value,
        worker_lcores: worker_lcores.map_or_else(|| vec![1], |lcores| lcores.value),
        memory: memory.value,
        eal_args: eal_args.into_iter().map(|argument| argument.value).collect(),
        idle: idle.value,
    })
}

fn argument(text: &str) -> Option<String> {
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

/// `[1, 2]` or `"1-8,10"`.
fn lcores(value: &DeValue<'_>) -> Result<Vec<u16>, Refusal> {
    let allowed = format!("1 to {WORKERS_MAX} CPU numbers 0-{CPU_MAX} like [1, 2] or \"1-8,10\"");
    let cpus = match value {
        DeValue::String(text) => lcores_in(text),
        DeValue::Array(items) => {
            let mut cpus = Vec::new();
            for item in items.iter() {
                cpus.push(value::integer(0..=CPU_MAX)(item.get_ref())?);
            }
            Some(cpus)
        }
        _ => None,
    };
    match cpus {
        Some(cpus) if (1..=WORKERS_MAX).contains(&cpus.len()) => Ok(cpus),
        Some(cpus) => Err(Refusal { found: format!("{} CPU numbers", cpus.len()), allowed }),
        None => Err(Refusal::of(value, allowed)),
    }
}

fn lcores_in(text: &str) -> Option<Vec<u16>> {
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (value::digits(first)?, value::digits(last)?);
        if first > last || last > CPU_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Most workers, each an lcore of its own to the EAL.
pub const WORKERS_MAX: usize = 64;

/// Highest CPU number (the kernel's `CPU_SETSIZE` less one).
const CPU_MAX: u16 = 1023;
