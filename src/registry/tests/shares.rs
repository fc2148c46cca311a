//! What is left of a registry that is nearly full, and who gets it.

use super::*;

/// An nsqd that registers as many topics as it may, of so many; how many that are.
fn greedy(registry: &Registry, number: u16, most: usize) -> (Client, usize) {
    let mut changes = PendingChanges::default();
    let now = Timestamp::default();
    let mut client = registry.identify(&mut changes, address(number), peer_info(number), now);
    let mut names = (0..most).map(|topic| format!("t{number}-{topic}"));
    let refused = names.position(|name| {
        registry
            .register(&mut changes, &mut client, &name, None)
            .inspect_err(|&limit| {
                assert!(limit.is_of_all());
            })
            .is_err()
    });
    registry.commit(&mut changes);
    (client, refused.unwrap_or(most))
}

#[test]
fn nsqd_that_has_most_registrations_is_refused_first() {
    let capacity = Capacity { registrations: 10_000, ..Capacity::default() };
    let registry = Registry::new(Arc::new(Snapshots::default()), capacity);
    let (mut first, count) = greedy(&registry, 1, 10_000);
    assert_eq!(count, 8_000, "four fifths are for anybody");
    let (mut second, count) = greedy(&registry, 2, 1_900);
    assert_eq!(count, 1_900, "it has less");
    // What is there stays, and what was refused is there once there is room.
    let mut changes = PendingChanges::default();
    let mut retry = |client: &mut Client| {
        let mut count = 0;
        registry.retry(&mut changes, client, &mut Work::unlimited(), |_, _, _| count += 1);
        count
    };
    assert_eq!((first.registrations(), first.refused(), retry(&mut first)), (8_000, 1, 0));
    let mut left = PendingChanges::default();
    assert!(registry.leave(&mut left, &mut second, &mut Work::unlimited(), |_, _| {}));
    assert_eq!(retry(&mut first), 1, "names that were left behind make room");
    assert_eq!(registry.removed(), 1);
}

#[test]
fn nsqd_that_has_most_registrations_is_refused_first_where_memory_is_short() {
    let memory = Arc::new(Memory::new(Some(2 * limits::MEMORY_RESERVE)));
    let registry = Registry::new(Arc::new(Snapshots::default()), Capacity::default());
    let registry = registry.within(Arc::clone(&memory));
    let (_first, most) = greedy(&registry, 1, 100_000);
    let (_second, count) = greedy(&registry, 2, 100_000);
    assert!(count > most / 5 && count < most / 3, "{most}, {count}");
    assert!(registry.fill_ratio() > 0.99, "{}", registry.fill_ratio());
}

#[test]
fn nsqds_with_few_registrations_have_all_of_a_registry() {
    let capacity = Capacity { registrations: 4_500, ..Capacity::default() };
    let registry = Registry::new(Arc::new(Snapshots::default()), capacity);
    let fleet = (0..5).map(|number| greedy(&registry, number, 900).1);
    assert_eq!(fleet.sum::<usize>(), 4_500);
}
