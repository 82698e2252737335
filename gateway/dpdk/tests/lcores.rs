//! Functions on lcores: they run there, they are waited for, their panics are told.

mod dpdk_support;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_support::{args, eal};
use natgw_dpdk::{Eal, Error, current_lcore, launch};

#[test]
fn runs_on_its_lcore_and_returns_a_value() {
    let lcore = eal().worker(0).unwrap();
    let worker = launch(eal(), lcore, move || (current_lcore(), "done".to_owned())).unwrap();
    assert_eq!(worker.join().unwrap(), (Some(lcore.index()), "done".to_owned()));
    assert_eq!(current_lcore().filter(|&lcore| lcore != 0), None, "a test's thread is no worker");
}

#[test]
fn a_panic_is_reported_and_leaves_the_lcore_usable() {
    let lcore = eal().worker(1).unwrap();
    // A panic without its message on stderr.
    let broken = || -> u32 { resume_unwind(Box::new(format!("table {} is broken", 7))) };
    let worker = launch(eal(), lcore, broken).unwrap();
    let error = worker.join().unwrap_err();
    assert_eq!(error.to_string(), format!("worker on lcore {lcore} panicked: table 7 is broken"));
    assert_eq!(launch(eal(), lcore, || 1).unwrap().join(), Ok(1));
}

#[test]
fn an_lcore_runs_one_function_and_drop_waits_for_it() {
    let lcore = eal().worker(2).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicBool::new(false));
    let worker = {
        let (stop, ended) = (stop.clone(), ended.clone());
        let run = move || {
            while !stop.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            ended.store(true, Ordering::Release);
        };
        launch(eal(), lcore, run).unwrap()
    };
    assert!(!worker.is_finished());
    let error = launch(eal(), lcore, || ()).unwrap_err();
    assert_eq!(error.to_string(), "lcore 3: runs something already");
    stop.store(true, Ordering::Release);
    drop(worker);
    assert!(ended.load(Ordering::Acquire));
}

#[test]
fn dpdk_is_initialised_once_a_process() {
    eal();
    assert_eq!(Eal::init(&args(1)).unwrap_err(), Error::AlreadyInitialised);
    assert!(Eal::version().starts_with(|first: char| first.is_ascii_digit()));
    assert!(!eal().uses_hugepages());
    assert_eq!(eal().workers().len(), 3);
}

#[test]
fn a_cpu_that_is_not_ours_is_named() {
    let mut args = args(1);
    args.worker_cpus = vec![4000];
    let text = Eal::init(&args).unwrap_err().to_string();
    assert!(text.starts_with("CPU 4000 is not available: this process may run on CPUs "), "{text}");
}
