"""The heap: blocks go into the smallest gap that holds them, and nodes between them keep gaps apart."""

from hypothesis import given
from hypothesis import strategies as st

from kit.fit.heap import ALIGNED, NODE, Change, Heap, bytes_in_gaps

MIB = 2**20


def test_a_block_goes_into_the_smallest_gap_that_holds_it_and_else_to_the_end() -> None:
    heap = Heap()
    large, wall, small, _ = (heap.take(size)[0] for size in (300, 10, 200, 10))
    heap.free(large)
    heap.free(small)
    end = heap.end
    assert heap.take(200) == (small,)
    assert heap.take(250) == (large,)
    assert heap.end == end
    assert heap.take(400) == (end,)
    assert wall == 300 + ALIGNED


def test_neighbouring_gaps_become_one_unless_a_node_stands_between_them() -> None:
    for pinned, fits in ((False, True), (True, False)):
        heap = Heap()
        blocks = [heap.take(1000, pinned=pinned) for _ in range(2)]
        end = heap.end
        heap.free(blocks[0][0])
        heap.free(blocks[1][0])
        (address,) = heap.take(1500)
        assert (address < end - 1500) is fits
        assert len(blocks[0]) == (2 if pinned else 1)


def test_the_last_gap_is_the_beginning_of_a_block_that_it_does_not_hold() -> None:
    heap = Heap()
    heap.take(1000)
    (last,) = heap.take(1000)
    heap.free(last)
    assert heap.take(3000) == (last,)
    assert heap.end == last + 3000 + ALIGNED


def test_activations_between_nodes_leave_gaps_in_which_a_large_gradient_finds_no_place() -> None:
    def step(*, pinned: bool) -> list[Change]:
        forward = [Change(block=k, num_bytes=MIB, pinned=pinned) for k in range(8)]
        freed = [Change(block=k, num_bytes=0) for k in range(8)]
        return [*forward, *freed, Change(block=8, num_bytes=4 * MIB), Change(block=8, num_bytes=0)]

    assert bytes_in_gaps(step(pinned=False)) < MIB
    assert bytes_in_gaps(step(pinned=True)) > 3 * MIB


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.booleans(), st.integers(0, 10**6)), max_size=60),
)
def test_blocks_never_overlap_and_what_is_freed_is_one_gap_at_last(script: list[tuple[int, bool, int]]) -> None:
    heap = Heap()
    taken: dict[int, int] = {}
    for num_bytes, pinned, choice in script:
        if taken and choice % 3 == 0:
            address = sorted(taken)[choice % len(taken)]
            heap.free(address)
            del taken[address]
            continue
        size = num_bytes + ALIGNED
        addresses = heap.take(num_bytes, pinned=pinned)
        sizes = (size - NODE, NODE) if pinned else (size,)
        for address, length in zip(addresses, sizes, strict=True):
            assert all(address + length <= other or other + held <= address for other, held in taken.items())
            taken[address] = length
        assert heap.in_use == sum(taken.values())
        assert heap.end >= heap.most_in_use >= heap.in_use
    for address in list(taken):
        heap.free(address)
    end = heap.end
    assert heap.take(max(1, end - ALIGNED)) == (0,)
