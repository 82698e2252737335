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
    Action::SendRequest { interface: PORT, tpa: IP, unicast, pinned: false }
}

fn ask_gateway(unicast: Option<Mac>) -> Action {
    Action::SendRequest { interface: PORT, tpa: IP, unicast, pinned: true }
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

/// Another station's MAC address.
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 3]);

#[test]
fn a_claim_does_not_move_a_neighbour_that_answers() {
    let mut neighbors = Neighbors::new();
    need(&mut neighbors, 0);
    learn(&mut neighbors, MAC, Learn::Merge, 0);
    assert_eq!(learn(&mut neighbors, OTHER, Learn::Merge, 1000), [ask(Some(MAC))]);
    assert_eq!(learn(&mut neighbors, OTHER, Learn::Merge, 1001), [], "one claim at a time");
    assert_eq!(run(&mut neighbors, 1150), [(1100, ask(Some(MAC)))]);
    assert_eq!(learn(&mut neighbors, MAC, Learn::Merge, 1160), [Action::Refused(binding(OTHER))]);
    assert_eq!((state(&neighbors), neighbors.list(0)[0].mac), (State::Reachable, Some(MAC)));
    // A flood of claims costs one question a second.
    let asked: usize =
        (1161..3161).map(|now_ms| learn(&mut neighbors, OTHER, Learn::Merge, now_ms).len()).sum();
    assert_eq!(asked, 1);
    learn(&mut neighbors, MAC, Learn::Merge, 3161);
    assert_eq!(neighbors.counts(), NeighborCounts { moved: 0, refused: 2, full: 0 });
}

#[test]
fn a_neighbour_moves_when_the_one_before_is_silent() {
    let mut neighbors = Neighbors::new();
    need(&mut neighbors, 0);
    learn(&mut neighbors, MAC, Learn::Merge, 0);
    assert_eq!(learn(&mut neighbors, OTHER, Learn::Merge, 1000), [ask(Some(MAC))]);
    let moved = Action::Moved { from: MAC, to: binding(OTHER) };
    let expected = [1100, 1200].map(|now_ms| (now_ms, ask(Some(MAC))));
    let told = [(1300, moved), (1300, Action::Update(binding(OTHER)))];
    assert_eq!(run(&mut neighbors, 1400), [expected, told].concat());
    assert_eq!((state(&neighbors), neighbors.counts().moved), (State::Reachable, 1));
    assert_eq!(need(&mut neighbors, 1500), [Action::Update(binding(OTHER))]);
}

#[test]
fn a_static_neighbour_stays_what_it_is() {
    let mut neighbors = Neighbors::new();
    let mut actions = Vec::new();
    learn(&mut neighbors, OTHER, Learn::Add, 0);
    neighbors.set_static(&[binding(MAC)], 1, |action| actions.push(action));
    neighbors.pin(&[Route { interface: PORT, next_hop: IP }], 1, |action| actions.push(action));
    assert_eq!(actions, [Action::Update(binding(MAC))]);
    assert!(neighbors.unresolved().is_empty());
    assert_eq!(learn(&mut neighbors, OTHER, Learn::Add, 2), [Action::Refused(binding(OTHER))]);
    assert_eq!(learn(&mut neighbors, MAC, Learn::Add, 3), []);
    assert_eq!(run(&mut neighbors, 1_000_000), []);
    assert_eq!((state(&neighbors), neighbors.list(0)[0].mac), (State::Static, Some(MAC)));
    assert_eq!(need(&mut neighbors, 4), [Action::Update(binding(MAC))]);
    // Out of the configuration, it is asked whether it is there.
    neighbors.set_static(&[], 1_000_000, |_| ());
    assert_eq!(run(&mut neighbors, 1_000_000), [(1_000_000, ask_gateway(Some(MAC)))]);
    learn(&mut neighbors, MAC, Learn::Merge, 1_000_001);
    assert_eq!(state(&neighbors), State::Reachable);
}

#[test]
fn who_only_asks_takes_no_place_among_the_used() {
    let mut neighbors = Neighbors::new();
    let stranger = |ip| Binding { ip, ..binding(MAC) };
    let mut actions = Vec::new();
    let heard = (0..100_000)
        .filter(|&ip| neighbors.learned(stranger(ip), Learn::Add, 0, |action| actions.push(action)).is_ok())
        .count();
    assert!(heard < HEARD_MAX as usize && actions.is_empty(), "{heard} heard, {} told", actions.len());
    // The flood keeps no neighbour from being found, on its own link or another.
    for interface in [PORT, InterfaceId(1)] {
        neighbors.need(interface, 200_000, 0, |action| actions.push(action)).unwrap();
        let answer = Binding { interface, ip: 200_000, mac: MAC };
        neighbors.learned(answer, Learn::Merge, 1, |action| actions.push(action)).unwrap();
        assert_eq!(actions.pop(), Some(Action::Update(answer)));
    }
    actions.clear();
    // And it goes without a question.
    let now_ms = 40_000 + STALE_MS + REACHABLE_MS;
    let mut asked = Vec::new();
    (0..1000).for_each(|_| neighbors.poll(now_ms, |action| asked.push(action)));
    (0..1000).for_each(|_| neighbors.poll(now_ms + STALE_MS, |action| asked.push(action)));
    assert!(
        asked.iter().all(|action| matches!(action, Action::SendRequest { tpa: 200_000, .. })),
        "{asked:?}"
    );
    assert_eq!(neighbors.len(), 2);
}

#[test]
fn a_gateways_requests_come_before_those_of_thousands() {
    let mut neighbors = Neighbors::new();
    for ip in 0..10_000 {
        neighbors.need(PORT, ip, 0, |_| ()).unwrap();
    }
    neighbors.pin(&[Route { interface: InterfaceId(1), next_hop: IP }], 500, |_| ());
    let mut first = None;
    neighbors.poll(2000, |action| _ = first.get_or_insert(action));
    let gateway = Action::SendRequest { interface: InterfaceId(1), tpa: IP, unicast: None, pinned: true };
    assert_eq!(first, Some(gateway));
}

#[test]
fn a_gateway_is_asked_for_ten_times_in_the_first_second_and_again_as_its_link_comes_up() {
    let mut neighbors = Neighbors::new();
    let mut asked = 0;
    neighbors.pin(&[Route { interface: PORT, next_hop: IP }], 0, |_| asked += 1);
    asked += run(&mut neighbors, 999).len();
    assert_eq!(asked, 10);
    run(&mut neighbors, 6500);
    let mut actions = Vec::new();
    neighbors.link_up(InterfaceId(1), 6500, |action| actions.push(action));
    neighbors.link_up(PORT, 6500, |action| actions.push(action));
    assert_eq!(actions, [ask_gateway(None)]);
    assert_eq!(run(&mut neighbors, 7499).len(), 9);
    learn(&mut neighbors, MAC, Learn::Merge, 7500);
    neighbors.link_up(PORT, 7501, |action| actions.push(action));
    assert_eq!(actions.len(), 1, "it has answered");
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
    assert_eq!(actions, [ask_gateway(None)]);
    assert_eq!(neighbors.unresolved(), [gateway]);
    let requests =
        run(&mut neighbors, 99_999).iter().filter(|(_, action)| *action == ask_gateway(None)).count();
    assert_eq!(requests, 11 + 3 * 19, "ten more in the first second, and one; then three in five seconds");
    learn(&mut neighbors, MAC, Learn::Merge, 100_000);
    assert!(neighbors.unresolved().is_empty());
    let lost = run(&mut neighbors, 200_000);
    let lost_ms = 100_000 + reachable_ms(IP) + STALE_MS + 3000;
    assert!(lost.contains(&(lost_ms, REMOVE)) && lost.contains(&(lost_ms, ask_gateway(None))));
    assert_eq!(neighbors.unresolved(), [gateway]);
    neighbors.pin(&[], 200_000, |_| ());
    run(&mut neighbors, 300_000);
    assert!(neighbors.is_empty());
}

#[test]
fn it_is_bounded_and_polls_in_portions() {
    let mut neighbors = Neighbors::new();
    let taken = (0..NEIGHBORS_MAX).filter(|&ip| neighbors.need(PORT, ip, 0, |_| ()).is_ok()).count();
    assert!((NEIGHBORS_MAX as usize / 2..NEIGHBORS_MAX as usize).contains(&taken), "{taken}");
    assert_eq!(neighbors.need(PORT, u32::MAX, 0, |_| ()), Err(Full));
    // Other links and gateways have places of their own.
    assert_eq!(neighbors.need(InterfaceId(1), u32::MAX, 0, |_| ()), Ok(()));
    neighbors.pin(&[Route { interface: PORT, next_hop: u32::MAX }], 0, |_| ());
    assert_eq!(neighbors.len(), taken + 2);
    let mut sent = 0;
    neighbors.poll(1000, |_| sent += 1);
    assert_eq!(sent, POLL_MAX);
    // Who failed is not kept where it is crowded.
    for now_ms in [1000, 2000, 3000] {
        (0..1000).for_each(|_| neighbors.poll(now_ms, |_| ()));
    }
    assert!(neighbors.len() <= NEIGHBORS_MAX as usize / 2);
    assert_eq!(neighbors.need(PORT, u32::MAX - 1, 3000, |_| ()), Ok(()));
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
    fn workers_know_what_is_in_use(steps in prop::collection::vec((0u8..6, 0u32..6, 0u8..3, 0u64..20_000), 1..200)) {
        let (mut neighbors, mut now_ms) = (Neighbors::new(), 0);
        let mut workers = HashMap::new();
        for (what, ip, mac, pause_ms) in steps {
            let sink = |action| match action {
                Action::Update(binding) => { workers.insert(binding.ip, binding.mac); }
                Action::Remove { ip, .. } => { workers.remove(&ip); }
                Action::SendRequest { .. } | Action::Moved { .. } | Action::Refused(_) => {}
            };
            let binding = Binding { interface: PORT, ip, mac: Mac([2, 0, 0, 0, 0, mac]) };
            match what {
                0 => neighbors.need(PORT, ip, now_ms, sink).unwrap(),
                1 => neighbors.learned(binding, Learn::Add, now_ms, sink).unwrap(),
                2 => neighbors.learned(binding, Learn::Merge, now_ms, sink).unwrap(),
                3 => neighbors.pin(&[Route { interface: PORT, next_hop: ip }], now_ms, sink),
                4 => neighbors.set_static(&[binding], now_ms, sink),
                _ => {
                    now_ms += pause_ms;
                    neighbors.poll(now_ms, sink);
                }
            }
            let rows = neighbors.list(now_ms);
            let known: HashMap<u32, Mac> =
                rows.iter().filter_map(|row| Some((row.ip, neighbors.used_mac(PORT, row.ip)?))).collect();
            prop_assert_eq!(&known, &workers);
            prop_assert_eq!(neighbors.due.iter().map(BTreeSet::len).sum::<usize>(), neighbors.len());
        }
    }
}
