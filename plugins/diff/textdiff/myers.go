package textdiff

import "math"

// maxCost bounds the search for the shortest diff. Beyond it, a longer one will do: a search takes the square of the changes.
const maxCost = 2000

// compare says which of the old lines were removed and which of the new ones were added.
func compare(oldLines, newLines []string) (removed, added []bool) {
	removed, added = make([]bool, len(oldLines)), make([]bool, len(newLines))
	ids := make(map[string]int)
	oldIDs, newIDs := number(ids, oldLines), number(ids, newLines)
	d := differ{removed: removed, added: added}
	// A line that the other text hasn't at all was removed or added. Leaving it out of the search saves most of the work.
	d.a, d.aIndex = shared(oldIDs, newIDs, len(ids), removed)
	d.b, d.bIndex = shared(newIDs, oldIDs, len(ids), added)
	d.offset = len(d.b) + 1
	d.forward = make([]int, len(d.a)+len(d.b)+3)
	d.backward = make([]int, len(d.a)+len(d.b)+3)
	d.compare(0, len(d.a), 0, len(d.b))
	return removed, added
}

// number gives equal lines equal numbers.
func number(ids map[string]int, lines []string) []int {
	numbers := make([]int, len(lines))
	for i, line := range lines {
		id, known := ids[line]
		if !known {
			id = len(ids)
			ids[line] = id
		}
		numbers[i] = id
	}
	return numbers
}

// shared returns the lines that occur in `other` as well, with their indices, and marks the rest.
func shared(lines, other []int, ids int, marks []bool) (kept, indices []int) {
	occurs := make([]bool, ids)
	for _, id := range other {
		occurs[id] = true
	}
	for i, id := range lines {
		if occurs[id] {
			kept, indices = append(kept, id), append(indices, i)
		} else {
			marks[i] = true
		}
	}
	return kept, indices
}

// A differ runs Myers' algorithm in linear space. A diagonal k holds the positions (x, y) with x - y = k.
type differ struct {
	a, b           []int
	aIndex, bIndex []int
	removed, added []bool
	// The furthest x on each diagonal, from the start and from the end, at the index k + offset.
	forward, backward []int
	offset            int
}

func (d *differ) compare(aLow, aHigh, bLow, bHigh int) {
	for aLow < aHigh && bLow < bHigh && d.a[aLow] == d.b[bLow] {
		aLow, bLow = aLow+1, bLow+1
	}
	for aLow < aHigh && bLow < bHigh && d.a[aHigh-1] == d.b[bHigh-1] {
		aHigh, bHigh = aHigh-1, bHigh-1
	}
	if aLow == aHigh || bLow == bHigh {
		for _, index := range d.aIndex[aLow:aHigh] {
			d.removed[index] = true
		}
		for _, index := range d.bIndex[bLow:bHigh] {
			d.added[index] = true
		}
		return
	}
	x, y := d.split(aLow, aHigh, bLow, bHigh)
	d.compare(aLow, x, bLow, y)
	d.compare(x, aHigh, y, bHigh)
}

// split finds a point that a shortest path passes: where a search from the start meets one from the end.
func (d *differ) split(aLow, aHigh, bLow, bHigh int) (int, int) {
	forward := func(k int) *int { return &d.forward[k+d.offset] }
	backward := func(k int) *int { return &d.backward[k+d.offset] }
	lowest, highest := aLow-bHigh, aHigh-bLow
	fLow, fHigh := aLow-bLow, aLow-bLow
	bkLow, bkHigh := aHigh-bHigh, aHigh-bHigh
	odd := (fLow-bkLow)%2 != 0
	*forward(fLow), *backward(bkLow) = aLow, aHigh
	for cost := 1; ; cost++ {
		if fLow > lowest {
			fLow--
			*forward(fLow - 1) = -1
		} else {
			fLow++
		}
		if fHigh < highest {
			fHigh++
			*forward(fHigh + 1) = -1
		} else {
			fHigh--
		}
		for k := fHigh; k >= fLow; k -= 2 {
			x := max(*forward(k - 1)+1, *forward(k + 1))
			for x < aHigh && x-k < bHigh && d.a[x] == d.b[x-k] {
				x++
			}
			*forward(k) = x
			if odd && bkLow <= k && k <= bkHigh && *backward(k) <= x {
				return x, x - k
			}
		}
		if bkLow > lowest {
			bkLow--
			*backward(bkLow - 1) = math.MaxInt
		} else {
			bkLow++
		}
		if bkHigh < highest {
			bkHigh++
			*backward(bkHigh + 1) = math.MaxInt
		} else {
			bkHigh--
		}
		for k := bkHigh; k >= bkLow; k -= 2 {
			x := min(*backward(k - 1), *backward(k + 1)-1)
			for x > aLow && x-k > bLow && d.a[x-1] == d.b[x-k-1] {
				x--
			}
			*backward(k) = x
			if !odd && fLow <= k && k <= fHigh && x <= *forward(k) {
				return x, x - k
			}
		}
		if cost >= maxCost {
			return d.furthest(fLow, fHigh, aHigh, bHigh)
		}
	}
}

// furthest is the end of the longest path that the search from the start has found.
func (d *differ) furthest(low, high, aHigh, bHigh int) (int, int) {
	bestX, bestY := -1, -1
	for k := high; k >= low; k -= 2 {
		x := min(d.forward[k+d.offset], aHigh)
		if x-k > bHigh {
			x = bHigh + k
		}
		if x+x-k > bestX+bestY {
			bestX, bestY = x, x-k
		}
	}
	return bestX, bestY
}
