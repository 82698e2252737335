//! Timelines of the neighbour states.

use proptest::prelude::*;

use super::*;

const PORT: InterfaceId = InterfaceId(0);
const IP: u32 = 0x0a40_0002;
const MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const REMOVE: Action = Action::Remove { interface: PORT, ip: IP };

fn binding(mac: Mac) -> Binding {
    Binding { interface: PORT, ip: IP, mac }
}

fn ask(unicast: Option<Mac>) -> Action {
    Action::SendRequest { interface: PORT, tpa: IP, unicast }
}

fn need(neighbors: &mut Neighbors, now_ms: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    neighbors.need(PORT, IP, now_ms, |action| actions.push(action)).unwrap();
    actions
}

fn learn(neighbors: &mut Neighbors, mac: Mac, learn: Learn, now_ms: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    neighbors.learned(binding(mac), learn, now_ms, |action| actions.push(action)).unwrap();
    actions
}

/// Polls each time that something is due, and tells when what happened.
fn run(neighbors: &mut Neighbors, until_ms: u64) -> Vec<(u64, Action)> {
    let mut actions = Vec::new();
    while let Some(now_ms) = neighbors.next_due_ms().filter(|&due_ms| due_ms <= until_ms) {
        neighbors.poll(now_ms, |action| actions.push((now_ms, action)));
    }
    actions
}

fn state(neighbors: &Neighbors) -> State {
    neighbors.list(0)[0].state
}

#[test]
fn three_requests_a_second_apart_and_then_it_failed() {
    let mut neighbors = Neighbors::new();
    assert_eq!(need(&mut neighbors, 0), [ask(None)]);
    assert_eq!(need(&mut neighbors, 10), []);
    assert_eq!(run(&mut neighbors, 3000), [(1000, ask(None)), (2000, ask(None)), (3000, REMOVE)]);
    assert_eq!(state(&neighbors), State::Failed);
    assert_eq!(run(&mut neighbors, 33_000), []);
    assert!(neighbors.is_empty() && neighbors.next_due_ms().is_none());
}

#[test]
fn a_failed_neighbour_is_asked_for_again_when_needed() {
    let mut neighbors = Neighbors::new();
    need(&mut neighbors, 0);
    run(&mut neighbors, 3000);
    assert_eq!(need(&mut neighbors, 3001), [ask(None)]);
    assert_eq!(learn(&mut neighbors, MAC, Learn::Merge, 3002), [Action::Update(binding(MAC))]);
}

#[test]
fn a_silent_neighbour_is_probed_and_removed() {
    let mut neighbors = Neighbors::new();
    need(&mut neighbors, 0);
    learn(&mut neighbors, MAC, Learn::Merge, 0);
    let probed = reachable_ms(IP) + STALE_MS;
    let expected: Vec<(u64, Action)> = (0..3)
        .map(|second| (probed + 1000 * second, ask(Some(MAC))))
        .chain([(probed + 3000, REMOVE)])
        .collect();
    assert_eq!(run(&mut neighbors, 100_000), expected);
    assert!(neighbors.is_empty());
}

#[test]
fn any_message_confirms() {
    let mut neighbors = Neighbors::new();
    learn(&mut neighbors, MAC, Learn::Add, 0);
    run(&mut neighbors, reachable_ms(IP));
    assert_eq!(state(&neighbors), State::Stale);
    assert_eq!(learn(&mut neighbors, MAC, Learn::Merge, 50_000), []);
    assert_eq!(state(&neighbors), State::Reachable);
    assert_eq!(neighbors.next_due_ms(), Some(50_000 + reachable_ms(IP)));
}

#[test]
fn a_moved_neighbour_is_told() {
    let moved = Mac([2, 0, 0, 0, 0, 3]);
    let mut neighbors = Neighbors::new();
    learn(&mut neighbors, MAC, Learn::Add, 0);
    assert_eq!(learn(&mut neighbors, moved, Learn::Merge, 1), [Action::Update(binding(moved))]);
    assert_eq!(need(&mut neighbors, 2), [Action::Update(binding(moved))]);
}

#[test]
fn strangers_are_not_merged() {
    let mut neighbors = Neighbors::new();
    assert_eq!(learn(&mut neighbors, MAC, Learn::Merge, 0), []);
    assert!(neighbors.is_empty());
}

#[test]
fn a_pinned_gateway_is_never_given_up() {
    let gateway = Route { interface: PORT, next_hop: IP };
    let mut neighbors = Neighbors::new();
    let mut actions = Vec::new();
    neighbors.pin(&[gateway], 0, |action| actions.push(action));
    assert_eq!(actions, [ask(None)]);
    assert_eq!(neighbors.unresolved(), [gateway]);
    let requests = run(&mut neighbors, 99_999).iter().filter(|(_, action)| *action == ask(None)).count();
    assert_eq!(requests, 2 + 3 * 19, "three in five seconds");
    learn(&mut neighbors, MAC, Learn::Merge, 100_000);
    assert!(neighbors.unresolved().is_empty());
    let lost = run(&mut neighbors, 200_000);
    let lost_ms = 100_000 + reachable_ms(IP) + STALE_MS + 3000;
    assert!(lost.contains(&(lost_ms, REMOVE)) && lost.contains(&(lost_ms, ask(None))));
    assert_eq!(neighbors.unresolved(), [gateway]);
    neighbors.pin(&[], 200_000, |_| ());
    run(&mut neighbors, 300_000);
    assert!(neighbors.is_empty());
}

#[test]
fn it_is_bounded_and_polls_in_portions() {
    let mut neighbors = Neighbors::new();
    for ip in 0..NEIGHBORS_MAX as u32 {
        neighbors.need(PORT, ip, 0, |_| ()).unwrap();
    }
    assert_eq!(neighbors.need(PORT, u32::MAX, 0, |_| ()), Err(Full));
    assert_eq!(neighbors.learned(Binding { ip: u32::MAX, ..binding(MAC) }, Learn::Add, 0, |_| ()), Err(Full));
    neighbors.pin(&[Route { interface: PORT, next_hop: u32::MAX }], 0, |_| ());
    assert_eq!(neighbors.len(), NEIGHBORS_MAX + 1);
    let mut sent = 0;
    neighbors.poll(1000, |_| sent += 1);
    assert_eq!(sent, POLL_MAX);
}

#[test]
fn the_reachable_time_varies_by_half() {
    let times: Vec<u64> = (IP..IP + 256).map(reachable_ms).collect();
    assert!(times.iter().all(|time| (15_000..45_000).contains(time)));
    assert!(times.iter().any(|&time| time < 16_000) && times.iter().any(|&time| time > 44_000));
}

proptest! {
    /// The workers' view, replayed from the actions, is exactly the entries that have a MAC address.
    #[test]
    fn workers_know_what_is_in_use(steps in prop::collection::vec((0u8..5, 0u32..6, 0u8..3, 0u64..20_000), 1..200)) {
        let (mut neighbors, mut now_ms) = (Neighbors::new(), 0);
        let mut workers = HashMap::new();
        for (what, ip, mac, pause_ms) in steps {
            let sink = |action| match action {
                Action::Update(binding) => { workers.insert(binding.ip, binding.mac); }
                Action::Remove { ip, .. } => { workers.remove(&ip); }
                Action::SendRequest { .. } => {}
            };
            let binding = Binding { interface: PORT, ip, mac: Mac([2, 0, 0, 0, 0, mac]) };
            match what {
                0 => neighbors.need(PORT, ip, now_ms, sink).unwrap(),
                1 => neighbors.learned(binding, Learn::Add, now_ms, sink).unwrap(),
                2 => neighbors.learned(binding, Learn::Merge, now_ms, sink).unwrap(),
                3 => neighbors.pin(&[Route { interface: PORT, next_hop: ip }], now_ms, sink),
                _ => {
                    now_ms += pause_ms;
                    neighbors.poll(now_ms, sink);
                }
            }
            let rows = neighbors.list(now_ms);
            let known: HashMap<u32, Mac> = rows.iter().filter_map(|row| Some((row.ip, row.mac?))).collect();
            prop_assert_eq!(&known, &workers);
            prop_assert_eq!(neighbors.due.len(), neighbors.len());
        }
    }
}
