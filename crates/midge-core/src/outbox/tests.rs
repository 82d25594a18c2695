use super::*;

fn content(outbox: &Outbox) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 64];
    let used = outbox.io_slices(&mut slices, usize::MAX);
    slices[..used]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect()
}

fn sample() -> Outbox {
    let mut outbox = Outbox::default();
    outbox.push(b"ab");
    outbox.push_segment(Bytes::from_static(b"CDE"));
    outbox.push_segment(Bytes::from_static(b"F"));
    outbox.push(b"gh");
    outbox.push_segment(Bytes::from_static(b"IJ"));
    outbox
}

#[test]
fn any_split_of_writes_gives_the_same_bytes() {
    let whole = b"abCDEFghIJ";
    for first in 0..=whole.len() {
        for second in 0..=whole.len() - first {
            let mut outbox = sample();
            outbox.advance(first);
            assert_eq!(outbox.len(), whole.len() - first);
            outbox.advance(second);
            assert_eq!(content(&outbox), &whole[first + second..]);
            let mut seen = Vec::new();
            while !outbox.is_empty() {
                let chunk = outbox.chunk().to_vec();
                outbox.advance(chunk.len());
                seen.extend(chunk);
            }
            assert_eq!(seen, &whole[first + second..]);
        }
    }
}

#[test]
fn appending_a_half_written_outbox_keeps_the_order() {
    for written in 0..=10 {
        let mut tail = sample();
        tail.advance(written);
        let mut outbox = Outbox::default();
        outbox.push(b"x");
        outbox.append(tail);
        assert_eq!(content(&outbox), [b"x", &b"abCDEFghIJ"[written..]].concat());
    }
}

#[test]
fn a_backlog_is_kept_in_chunks_and_leaves_in_order() {
    let mut outbox = Outbox::default();
    let mut model = VecDeque::new();
    let mut random = 1u32;
    let mut next = |below: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % below
    };

    let budget = Budget::new(0);
    for round in 0..4_000 {
        if next(20) == 0 {
            outbox.compact();
            outbox.charge(&budget);
            assert_eq!(outbox.charged(), budget.of(Part::Output));
        }
        let size = next(3_000) + usize::from(round % 500 == 0) * 3 * CHUNK;
        let bytes: Vec<u8> = (0..size).map(|at| (at + round) as u8).collect();
        model.extend(&bytes);
        match next(10) {
            0 => outbox.push_segment(bytes.into()),
            1 => outbox.buffer().extend_from_slice(&bytes),
            _ => outbox.push(&bytes),
        }
        if round % 3 == 0 {
            let mut slices = [IoSlice::new(&[]); 5];
            let enough = next(7_000);
            let used = outbox.io_slices(&mut slices, enough);
            let seen: Vec<u8> = slices[..used].iter().flat_map(|s| s.to_vec()).collect();
            assert!(used == 5 || seen.len() >= enough.min(model.len()));
            assert!(seen.len() - slices[used.saturating_sub(1)].len() <= enough);
            assert!(seen.iter().eq(model.iter().take(seen.len())));
            let written = next(7_000).min(seen.len());
            model.drain(..written);
            outbox.advance(written);
        }
        assert_eq!(outbox.len(), model.len());
        assert!(outbox.bytes.capacity() <= 2 * CHUNK || outbox.bytes.len() > CHUNK);
    }

    assert!(outbox.len() > 4 * CHUNK);
    while !outbox.is_empty() {
        let chunk = outbox.chunk().to_vec();
        let expected: Vec<u8> = model.drain(..chunk.len()).collect();
        assert!(chunk == expected);
        outbox.advance(chunk.len());
    }

    assert!(model.is_empty() && outbox.segments.is_none());
    assert_eq!(budget.total(), 0);
}

#[test]
fn what_is_charged_follows_what_waits() {
    let budget = Budget::new(0);
    let mut outbox = Outbox::default();
    outbox.push(&[1; 60_000]);
    outbox.advance(59_990);
    outbox.compact();
    outbox.charge(&budget);
    assert!((10..5_000).contains(&budget.total()), "{}", budget.total());
    outbox.push_segment(vec![2; 1 << 20].into());
    outbox.push(&[3; 300_000]);
    outbox.charge(&budget);
    // The payload has a charge of its own.
    assert!((300_000..800_000).contains(&budget.total()));

    let mut rest = Outbox::default();
    rest.push(b"x");
    rest.append(std::mem::take(&mut outbox));
    assert!((300_000..900_000).contains(&budget.total()));
    rest.advance(rest.len() - 1);
    assert!(budget.total() > 0);
    rest.advance(1);
    assert_eq!(budget.total(), 0);
}

#[test]
fn a_compact_outbox_keeps_what_waits_in_order() {
    for written in 0..10 {
        let mut outbox = sample();
        outbox.bytes.reserve(100_000);
        outbox.advance(written);
        outbox.compact();
        assert!(outbox.bytes.capacity() < 100);
        assert_eq!(content(&outbox), &b"abCDEFghIJ"[written..]);
    }
}

/// What an outbox of so many bytes of buffer is charged, and of so many places for segments.
fn memory(outbox: &Outbox, chunks: usize) -> usize {
    let segments = outbox.segments.as_ref().unwrap();
    let list = segments.list.capacity() * size_of::<(usize, Bytes)>();
    outbox.bytes.capacity() + size_of::<Segments>() + list + chunks
}

#[test]
fn what_is_charged_is_exactly_its_own_memory() {
    let budget = Budget::new(0);
    let mut outbox = Outbox::default();
    outbox.charge(&budget);
    assert_eq!((outbox.charged(), budget.total()), (0, 0), "nothing waits");

    outbox.push(&[1; 1000]);
    assert!(outbox.exceeds_charge(0));
    assert_eq!(outbox.charged(), 0);
    outbox.charge(&budget);
    assert_eq!(outbox.charged(), memory(&outbox, 0));
    assert_eq!(budget.of(Part::Output), outbox.charged());

    // Until the buffer has to grow, nothing changes.
    let free = outbox.bytes.capacity() - outbox.bytes.len();
    assert!(!outbox.exceeds_charge(0) && !outbox.exceeds_charge(free));
    assert!(outbox.exceeds_charge(free + 1));

    // A shared payload has a charge of its own; its place is charged.
    outbox.push_segment(vec![2; 1 << 20].into());
    assert!(outbox.exceeds_charge(0));
    outbox.charge(&budget);
    assert_eq!(outbox.charged(), memory(&outbox, 0));

    // Full chunks are part of the outbox, until they have been written.
    outbox.push(&[3; 3 * CHUNK]);
    outbox.push(&[4; 1000]);
    outbox.charge(&budget);
    let chunks = outbox.segments.as_ref().unwrap().chunks;
    assert!(chunks >= 3 * CHUNK);
    assert_eq!(outbox.charged(), memory(&outbox, chunks));
    outbox.advance(1000 + (1 << 20) + 3 * CHUNK - 10);
    assert_eq!(outbox.charged(), memory(&outbox, 10 + 2 * CHUNK));
}

#[test]
fn a_buffer_that_is_mostly_empty_is_given_back() {
    for (capacity, kept) in [(LOOSE + 2 * 100, true), (LOOSE + 2 * 100 + 1, false)] {
        let mut outbox = Outbox::default();
        outbox.bytes = Vec::with_capacity(capacity);
        outbox.push(&[1; 150]);
        outbox.advance(50);
        assert_eq!(outbox.bytes.capacity(), capacity);
        outbox.compact();
        assert_eq!(outbox.bytes.capacity() == capacity, kept);
        assert_eq!(content(&outbox), [1; 100]);
    }
}

#[test]
fn bytes_without_segments_are_one_run_if_they_are_not_too_many() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.single(), Some(&b""[..]));
    outbox.push(b"abc");
    outbox.advance(1);
    assert_eq!(outbox.single(), Some(&b"bc"[..]));
    outbox.push_segment(Bytes::from_static(b"D"));
    assert_eq!(outbox.single(), None);

    for (count, is_one) in [(CHUNK, true), (CHUNK + 1, false)] {
        let mut outbox = Outbox::default();
        outbox.push(&vec![1; count]);
        assert_eq!(outbox.single().is_some(), is_one, "{count}");
    }
}

#[test]
fn buffers_are_used_again_unless_they_are_large_or_many() {
    while take_buffer().capacity() > 0 {}
    give_buffer(Vec::new());
    assert_eq!(take_buffer().capacity(), 0);
    for (capacity, is_kept) in [
        (64, true),
        (POOLED_CAPACITY, true),
        (POOLED_CAPACITY + 1, false),
    ] {
        let mut buffer = Vec::with_capacity(capacity);
        buffer.push(1);
        give_buffer(buffer);
        let again = take_buffer();
        assert!(again.is_empty());
        assert_eq!(again.capacity(), if is_kept { capacity } else { 0 });
    }

    for _ in 0..POOLED_BUFFERS + 3 {
        give_buffer(Vec::with_capacity(8));
    }
    let kept = std::iter::from_fn(|| Some(take_buffer()).filter(|buffer| buffer.capacity() > 0));
    assert_eq!(kept.count(), POOLED_BUFFERS);
}

#[test]
fn chunks_of_an_appended_outbox_are_charged_with_it() {
    let budget = Budget::new(0);
    let mut tail = Outbox::default();
    tail.push(&[1; 2 * CHUNK]);
    tail.push(&[2; 1000]);
    let chunks = tail.segments.as_ref().unwrap().chunks;
    assert!(chunks >= 2 * CHUNK && tail.charged() == 0);

    let mut outbox = Outbox::default();
    outbox.push(b"x");
    outbox.append(tail);
    assert_eq!(budget.total(), 0);
    outbox.charge(&budget);
    assert_eq!(outbox.charged(), memory(&outbox, chunks));

    // One that is charged makes the other one charged.
    let mut first = Outbox::default();
    first.push(b"y");
    first.append(outbox);
    assert_eq!(first.charged(), memory(&first, chunks));
    assert_eq!(budget.of(Part::Output), first.charged());
    drop(first);
    assert_eq!(budget.total(), 0);
}

#[test]
fn a_packet_gets_its_own_identifier() {
    let mut outbox = Outbox::default();
    outbox.push(b"x");
    outbox.push_numbered(b"ab\0\0c", 2, 0x0102);
    outbox.push_numbered(b"ab\0\0", 2, 0x0304);
    assert_eq!(outbox.single(), Some(&b"xab\x01\x02cab\x03\x04"[..]));
    // A place that is not there is left alone.
    outbox.push_numbered(b"d", 1, 0x0506);
    assert_eq!(outbox.len(), 11);

    outbox.buffer().extend_from_slice(b"yz");
    assert!(content(&outbox).ends_with(b"dyz"));
    assert_eq!(outbox.len(), 13);
}

#[test]
fn an_outbox_takes_a_buffer_that_is_left() {
    let take: [fn(&mut Outbox); 3] = [
        |outbox| outbox.push(b"ab"),
        |outbox| outbox.push_numbered(b"ab\0\0", 2, 7),
        |outbox| outbox.buffer().extend_from_slice(b"ab"),
    ];
    for append in take {
        while take_buffer().capacity() > 0 {}
        give_buffer(Vec::with_capacity(30_000));
        let mut outbox = Outbox::default();
        append(&mut outbox);
        assert_eq!(outbox.bytes.capacity(), 30_000);
    }
}
