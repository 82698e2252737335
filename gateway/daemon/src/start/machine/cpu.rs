//! CPUs of the workers: where they are, and who else is there.

use std::collections::{BTreeMap, BTreeSet};

use super::cpus::Cpus;
use super::device::Port;
use super::{Machine, Warning};

const CPU: &str = "sys/devices/system/cpu";

/// Those of the workers' CPUs that are there, of which alone more is to be said; and a warning of the others.
pub(super) fn present(machine: &Machine, workers: Cpus) -> (Cpus, Option<Warning>) {
    let Some(online) = machine.cpus(&format!("{CPU}/online")) else { return (workers, None) };
    let absent = workers.without(&online);
    let warning = (!absent.is_empty()).then(|| Warning {
        found: absent.named("is not online", "are not online"),
        remedy: format!("worker_lcores among {online}"),
    });
    (workers.shared_with(&online), warning)
}

/// Workers on CPUs that are far from their devices, or that share a core.
pub(super) fn place_warnings(machine: &Machine, ports: &[Port], workers: &Cpus) -> Vec<Warning> {
    let mut found: Vec<Warning> = ports.iter().filter_map(|port| far(machine, port, workers)).collect();
    found.extend(siblings(machine, workers));
    found
}

/// What takes polling workers' CPUs away from them.
pub(super) fn noise_warnings(machine: &Machine, workers: &Cpus, main: u16) -> Vec<Warning> {
    let mut found = Vec::from_iter(unisolated(machine, workers));
    found.extend(interrupts(machine, workers, main));
    found.extend(governors(machine, workers));
    found
}

fn far(machine: &Machine, port: &Port, workers: &Cpus) -> Option<Warning> {
    let (address, node) = (&port.address, port.node?);
    let near = machine.cpus(&format!("sys/devices/system/node/node{node}/cpulist"))?;
    let far = workers.without(&near);
    (!far.is_empty()).then(|| Warning {
        found: format!("{address} is on NUMA node {node}, {}", far.named("is not", "are not")),
        remedy: format!("worker_lcores among {near}"),
    })
}

fn siblings(machine: &Machine, workers: &Cpus) -> Option<Warning> {
    let cores = workers.iter().filter_map(|cpu| {
        let threads = machine.cpus(&format!("{CPU}/cpu{cpu}/topology/thread_siblings_list"))?;
        let used = workers.shared_with(&threads);
        (used.iter().nth(1).is_some() && used.iter().next() == Some(cpu)).then(|| used.to_string())
    });
    let cores: Vec<String> = cores.collect();
    (!cores.is_empty()).then(|| Warning {
        found: format!("lcores {} are threads of one core each", cores.join("; ")),
        remedy: "one worker a core (lscpu --extended)".into(),
    })
}

fn unisolated(machine: &Machine, workers: &Cpus) -> Option<Warning> {
    let isolated = machine.cpus(&format!("{CPU}/isolated"))?;
    let shared = workers.without(&isolated);
    (!shared.is_empty()).then(|| Warning {
        found: format!(
            "{} isolated: the scheduler may put other work there",
            shared.named("is not", "are not")
        ),
        remedy: format!("kernel command line: isolcpus={workers} nohz_full={workers} rcu_nocbs={workers}"),
    })
}

fn interrupts(machine: &Machine, workers: &Cpus, main: u16) -> Option<Warning> {
    let numbers = machine.names("proc/irq").into_iter().filter_map(|name| name.parse::<u32>().ok());
    let (mut disturbing, mut disturbed) = (BTreeMap::new(), BTreeSet::new());
    for number in numbers {
        let directory = format!("proc/irq/{number}");
        // A directory for each handler; vfio's own ones are the gateway's.
        let handlers = machine
            .names(&directory)
            .into_iter()
            .filter(|name| machine.root.join(&directory).join(name).is_dir() && !name.starts_with("vfio"));
        let cpus = ["effective_affinity_list", "smp_affinity_list"]
            .iter()
            .find_map(|file| machine.cpus(&format!("{directory}/{file}")).filter(|cpus| !cpus.is_empty()));
        let taking = cpus.map(|cpus| workers.shared_with(&cpus)).unwrap_or_default();
        if let Some(handler) = handlers.into_iter().next().filter(|_| !taking.is_empty()) {
            disturbing.insert(number, handler);
            disturbed.extend(taking.iter());
        }
    }
    let (first, _) = disturbing.first_key_value()?;
    let mut named: Vec<String> =
        disturbing.iter().take(NAMED_MAX).map(|(number, handler)| format!("{number} ({handler})")).collect();
    if disturbing.len() > NAMED_MAX {
        named.push(format!("{} more", disturbing.len() - NAMED_MAX));
    }
    Some(Warning {
        found: format!(
            "{} interrupts: {}",
            Cpus::from_iter(disturbed).named("takes", "take"),
            named.join(", ")
        ),
        remedy: format!(
            "echo {main} >/proc/irq/{first}/smp_affinity_list, or irqaffinity={main} on the kernel command line"
        ),
    })
}

fn governors(machine: &Machine, workers: &Cpus) -> Vec<Warning> {
    let governed = workers
        .iter()
        .filter_map(|cpu| Some((machine.read(&format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor"))?, cpu)));
    let governed: Vec<(String, u16)> = governed.filter(|(governor, _)| governor != "performance").collect();
    let governors: BTreeSet<&String> = governed.iter().map(|(governor, _)| governor).collect();
    let slow = governors.into_iter().map(|governor| {
        let cpus: Cpus =
            governed.iter().filter(|(other, _)| other == governor).map(|(_, cpu)| *cpu).collect();
        Warning {
            found: format!("{} under the governor {governor}", cpus.named("runs", "run")),
            remedy: format!("cpupower --cpu {cpus} frequency-set --governor performance"),
        }
    });
    slow.collect()
}

/// Interrupts that a warning names.
const NAMED_MAX: usize = 4;
