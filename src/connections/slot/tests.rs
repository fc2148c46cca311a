//! By when output must be read, and what follows when it is.

use super::*;

const RATE: usize = limits::READ_RATE;
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn output_must_be_read_at_the_least_rate() {
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut slot = Slot::new(socket.into(), State::Open(()));
    let queue = |slot: &mut Slot<()>, now, bytes: usize| {
        slot.queue(&mut vec![0; bytes], 0..bytes, false).unwrap();
        slot.output_deadline(now, bytes)
    };
    let take = |slot: &mut Slot<()>, now, bytes| {
        slot.buffers.as_mut().unwrap().sent += bytes;
        slot.output_deadline(now, 0)
    };
    let mut now = Timestamp::default();
    let first = queue(&mut slot, now, 4 * RATE);
    assert_eq!(first, now + limits::WRITE_STALL, "nothing was taken");
    // A peer that takes a little has 4 s more, whenever it does; with more output, 2 s more.
    now = now + 20 * SECOND;
    assert_eq!(take(&mut slot, now, 1), first + 4 * SECOND);
    queue(&mut slot, now, 2 * RATE);
    now = now + 10 * SECOND;
    assert_eq!(take(&mut slot, now, 1), first + 6 * SECOND);
    // One that takes as much as is added stays, however long that goes on.
    for _ in 0..1000 {
        let deadline = take(&mut slot, now, RATE);
        queue(&mut slot, now, RATE);
        assert!(deadline > now, "it reads at the least rate");
        now = now + SECOND;
    }
    // What is added late lets nobody wait for longer than that takes.
    for _ in 0..1000 {
        take(&mut slot, now, 4 * RATE);
        queue(&mut slot, now, 4 * RATE);
    }
    let longest = limits::WRITE_STALL + time_to_read(slot.queued());
    let before = now;
    now = now + 29 * SECOND;
    assert!(take(&mut slot, now, 1) <= before + longest);
}

#[test]
fn peer_whose_output_had_to_wait_is_served_behind_those_that_are_ready() {
    let (socket, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut slot = Slot::new(socket.into(), State::Open(()));
    for next in [Next::Write, Next::Read { deadline: Timestamp::NEVER }] {
        slot.queue(&mut vec![b'x'; 10], 0..10, false).unwrap();
        slot.follow(next, CoarseTime::NEVER, true);
        assert_eq!(slot.send_queued().unwrap(), 10);
        assert!(matches!(slot.written(), Action::Continue));
        assert!(slot.pending == Pending::Continue, "once");
        slot.pending = Pending::Nothing;
    }
    std::io::Read::read_exact(&mut peer, &mut [0; 20]).unwrap();
}
