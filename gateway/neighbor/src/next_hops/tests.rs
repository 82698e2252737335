//! The table against a model, and each of its promises once.

use std::collections::{HashMap as Model, VecDeque};

use proptest::prelude::*;

use super::*;

const PORT: InterfaceId = InterfaceId(0);
const SIZES: Sizes = Sizes { next_hops: 4, held: 6, held_each: 3 };

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn binding(ip: u32, last: u8) -> Binding {
    Binding { interface: PORT, ip, mac: mac(last) }
}

fn learn(hops: &mut NextHops<u32>, ip: u32, last: u8) -> Vec<u32> {
    let mut released = Vec::new();
    hops.learn(binding(ip, last), Learn::Add, |packet| released.push(packet));
    released
}

fn expire(hops: &mut NextHops<u32>, now_ms: u32) -> Vec<u32> {
    let mut expired = Vec::new();
    hops.expire(now_ms, |packet| expired.push(packet));
    expired
}

#[test]
fn packets_wait_and_leave_in_order() {
    let mut hops = NextHops::new(SIZES);
    let id = hops.resolve(PORT, 9, 0).unwrap();
    assert_eq!(hops.mac(id), None);
    assert_eq!(hops.hold(id, 100, 0), Ok(Held::Ask));
    assert_eq!(hops.hold(id, 101, 1), Ok(Held::Wait));
    assert_eq!(hops.hold(id, 102, 2), Ok(Held::Wait));
    assert_eq!(hops.hold(id, 103, 3), Err(103));
    assert_eq!((hops.ask(id, 4), hops.ask(id, 1000), hops.ask(id, 1001)), (false, true, false));
    assert_eq!(learn(&mut hops, 9, 1), [100, 101, 102]);
    assert_eq!((hops.mac(id), hops.held()), (Some(mac(1)), 0));
    assert_eq!(hops.hold(id, 104, 4), Err(104));
    assert_eq!(hops.resolve(PORT, 9, 5), Ok(id));
    assert!(expire(&mut hops, 10_000).is_empty());
}

#[test]
fn a_moved_neighbour_keeps_its_handle() {
    let mut hops = NextHops::new(SIZES);
    learn(&mut hops, 9, 1);
    let id = hops.resolve(PORT, 9, 0).unwrap();
    learn(&mut hops, 9, 2);
    assert_eq!(hops.mac(id), Some(mac(2)));
}

#[test]
fn interfaces_are_apart() {
    let mut hops = NextHops::<u32>::new(SIZES);
    let (a, b) = (hops.resolve(PORT, 9, 0).unwrap(), hops.resolve(InterfaceId(1), 9, 0).unwrap());
    learn(&mut hops, 9, 1);
    assert_eq!((hops.mac(a), hops.mac(b)), (Some(mac(1)), None));
}

#[test]
fn asking_is_repeated_each_second() {
    let mut hops = NextHops::new(SIZES);
    let id = hops.resolve(PORT, 9, 0).unwrap();
    let asked = [0, 999, 1000, 1999].map(|now_ms| hops.hold(id, now_ms, now_ms).unwrap_or(Held::Wait));
    assert_eq!(asked, [Held::Ask, Held::Wait, Held::Ask, Held::Wait]);
}

#[test]
fn unanswered_next_hops_go_after_three_seconds_oldest_first() {
    let mut hops = NextHops::new(SIZES);
    let wrap = u32::MAX - 1000;
    let first = hops.resolve(PORT, 1, wrap).unwrap();
    let second = hops.resolve(PORT, 2, wrap.wrapping_add(1)).unwrap();
    hops.hold(second, 20, wrap.wrapping_add(1)).unwrap();
    hops.hold(first, 10, wrap.wrapping_add(2)).unwrap();
    assert!(expire(&mut hops, wrap.wrapping_add(2999)).is_empty());
    assert_eq!(expire(&mut hops, wrap.wrapping_add(3000)), [10]);
    assert_eq!(expire(&mut hops, wrap.wrapping_add(3001)), [20]);
    assert!(hops.is_empty());
}

#[test]
fn expiry_has_a_budget() {
    let mut hops = NextHops::new(Sizes { next_hops: 80, held: 80, held_each: 1 });
    for ip in 0..40 {
        let id = hops.resolve(PORT, ip, 0).unwrap();
        hops.hold(id, ip, 0).unwrap();
    }
    let portions = [0; 4].map(|_| expire(&mut hops, HOLD_MS).len());
    assert_eq!(portions, [16, 16, 8, 0]);
}

#[test]
fn a_forgotten_next_hops_handle_names_nothing_and_its_slot_is_used_again() {
    let mut hops = NextHops::<u32>::new(Sizes { next_hops: 1, ..SIZES });
    learn(&mut hops, 9, 1);
    let old = hops.resolve(PORT, 9, 0).unwrap();
    assert_eq!(hops.resolve(PORT, 8, 0), Err(Full));
    hops.forget(PORT, 9, |_| ());
    assert_eq!(hops.mac(old), None);
    learn(&mut hops, 8, 2);
    assert_eq!(hops.mac(old), None);
    assert_eq!(hops.hold(old, 100, 0), Err(100));
    let new = hops.resolve(PORT, 8, 0).unwrap();
    assert_eq!((hops.mac(new), hops.mac(NextHopId::NONE)), (Some(mac(2)), None));
}

#[test]
fn new_routes_invalidate_handles_and_nothing_else() {
    let mut hops = NextHops::new(SIZES);
    learn(&mut hops, 1, 1);
    let resolved = hops.resolve(PORT, 1, 0).unwrap();
    let waiting = hops.resolve(PORT, 2, 0).unwrap();
    hops.hold(waiting, 20, 0).unwrap();
    hops.invalidate();
    assert_eq!(hops.mac(resolved), None);
    assert_eq!(hops.hold(waiting, 21, 0), Err(21));
    let again = hops.resolve(PORT, 1, 0).unwrap();
    assert_eq!(hops.mac(again), Some(mac(1)));
    assert_eq!(learn(&mut hops, 2, 2), [20]);
}

#[test]
fn merging_adds_no_neighbour_and_a_full_table_takes_none() {
    let mut hops = NextHops::<u32>::new(Sizes { next_hops: 1, ..SIZES });
    hops.learn(binding(1, 1), Learn::Merge, |_| ());
    assert!(hops.is_empty());
    learn(&mut hops, 1, 1);
    learn(&mut hops, 2, 2);
    assert_eq!(hops.len(), 1);
}

#[test]
fn a_table_may_be_empty_or_as_large_as_it_gets() {
    let mut none = NextHops::<u32>::new(Sizes { next_hops: 0, held: 0, held_each: 0 });
    assert_eq!(none.resolve(PORT, 1, 0), Err(Full));
    assert_eq!(none.hold(NextHopId(0), 1, 0), Err(1));
    assert_eq!(none.mac(NextHopId(0)), None);
    let mut all = NextHops::<u32>::new(Sizes::default());
    for ip in 0..u32::from(NEXT_HOPS_MAX) {
        learn(&mut all, ip, 1);
    }
    assert_eq!(all.resolve(PORT, u32::MAX, 0), Err(Full));
    assert_eq!(all.mac(NextHopId::NONE), None);
}

/// Removals leave traces in the index; clearing them must not make it allocate.
#[test]
fn the_index_never_grows() {
    let mut hops = NextHops::<u32>::new(Sizes { next_hops: 100, ..SIZES });
    let size = hops.index.allocation_size();
    for ip in 0..100_000 {
        learn(&mut hops, ip, 1);
        if ip >= 99 {
            hops.forget(PORT, ip - 99, |_| ());
        }
    }
    assert_eq!(hops.index.allocation_size(), size);
}

#[derive(Clone, Debug)]
enum Step {
    Send(u32),
    Learn(u32, Learn),
    Forget(u32),
    Pass(u32),
    Invalidate,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u32..6).prop_map(Step::Send),
        2 => (0u32..6, prop_oneof![Just(Learn::Add), Just(Learn::Merge)]).prop_map(|(ip, learn)| Step::Learn(ip, learn)),
        1 => (0u32..6).prop_map(Step::Forget),
        2 => (0u32..2000).prop_map(Step::Pass),
        1 => Just(Step::Invalidate),
    ]
}

/// An obvious table: no slots, no handles, no threads through anything.
#[derive(Default)]
struct Obvious {
    resolved: Model<u32, Mac>,
    waiting: Model<u32, (u32, VecDeque<u32>)>,
}

impl Obvious {
    fn len(&self) -> usize {
        self.resolved.len() + self.waiting.len()
    }

    fn held(&self) -> usize {
        self.waiting.values().map(|(_, packets)| packets.len()).sum()
    }
}

proptest! {
    #[test]
    fn no_packet_is_lost_or_doubled(
        start in prop_oneof![Just(0u32), Just(u32::MAX - 2000)],
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut hops = NextHops::new(SIZES);
        let mut model = Obvious::default();
        let (mut now_ms, mut sent) = (start, 0u32);
        let mut handles: Model<u32, NextHopId> = Model::new();
        let (mut given, mut taken, mut refused) = (0, 0, 0);
        for step in steps {
            let mut out = Vec::new();
            let mut expected = Vec::new();
            match step {
                Step::Send(ip) => {
                    sent += 1;
                    let stale = handles.get(&ip).copied().filter(|&id| hops.mac(id).is_some());
                    let Ok(id) = stale.map_or_else(|| hops.resolve(PORT, ip, now_ms), Ok) else {
                        prop_assert_eq!(model.len(), usize::from(SIZES.next_hops));
                        continue;
                    };
                    handles.insert(ip, id);
                    prop_assert_eq!(hops.mac(id), model.resolved.get(&ip).copied());
                    if hops.mac(id).is_none() {
                        let held = model.held();
                        let (_, queue) = model.waiting.entry(ip).or_insert((now_ms, VecDeque::new()));
                        given += 1;
                        if hops.hold(id, sent, now_ms).is_ok() {
                            queue.push_back(sent);
                        } else {
                            refused += 1;
                            prop_assert!(queue.len() == SIZES.held_each as usize || held == SIZES.held as usize);
                        }
                    }
                }
                Step::Learn(ip, learn) => {
                    let room = model.len() < usize::from(SIZES.next_hops) && learn == Learn::Add;
                    let known = model.resolved.contains_key(&ip) || model.waiting.contains_key(&ip);
                    if known || room {
                        expected.extend(model.waiting.remove(&ip).into_iter().flat_map(|(_, packets)| packets));
                        model.resolved.insert(ip, mac(sent as u8));
                    }
                    hops.learn(binding(ip, sent as u8), learn, |packet| out.push(packet));
                }
                Step::Forget(ip) => {
                    model.resolved.remove(&ip);
                    expected.extend(model.waiting.remove(&ip).into_iter().flat_map(|(_, packets)| packets));
                    hops.forget(PORT, ip, |packet| out.push(packet));
                }
                Step::Pass(pause_ms) => {
                    now_ms = now_ms.wrapping_add(pause_ms);
                    let due = |since_ms: u32| now_ms.wrapping_sub(since_ms) >= HOLD_MS;
                    let mut gone: Vec<u32> = Vec::new();
                    model.waiting.retain(|_, (since_ms, packets)| {
                        if due(*since_ms) {
                            gone.extend(packets.iter());
                        }
                        !due(*since_ms)
                    });
                    gone.sort_unstable();
                    expected = gone;
                    hops.expire(now_ms, |packet| out.push(packet));
                    out.sort_unstable();
                }
                Step::Invalidate => {
                    hops.invalidate();
                    for &id in handles.values() {
                        prop_assert_eq!(hops.mac(id), None);
                    }
                }
            }
            taken += out.len();
            prop_assert_eq!(out, expected);
            prop_assert_eq!(hops.len(), model.len());
            prop_assert_eq!(hops.held() as usize, model.held());
        }
        prop_assert_eq!(given, taken + refused + hops.held() as usize);
    }
}
