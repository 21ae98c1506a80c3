// Package textdiff makes unified diffs, in plain Go: `go test ./textdiff` runs it natively.
package textdiff

import (
	"fmt"
	"strings"
)

// Unified returns the differences between two texts as a unified diff; empty if there are none.
func Unified(oldText, newText string, context int) string {
	oldLines, newLines := lines(oldText), lines(newText)
	removed, added := compare(oldLines, newLines)
	var out strings.Builder
	for _, hunk := range hunks(removed, added, context) {
		if out.Len() == 0 {
			out.WriteString("--- old\n+++ new\n")
		}
		hunk.write(&out, oldLines, newLines, removed, added)
	}
	return out.String()
}

// lines splits a text after each line feed, which stays at its line.
func lines(text string) []string {
	split := strings.SplitAfter(text, "\n")
	if split[len(split)-1] == "" {
		split = split[:len(split)-1]
	}
	return split
}

// A hunk is a range of old lines and the range of new lines that stands for it.
type hunk struct {
	oldStart, oldEnd, newStart, newEnd int
}

// hunks returns the changes with their context. Those whose contexts touch are one.
func hunks(removed, added []bool, context int) []hunk {
	var found []hunk
	i, j := 0, 0
	for i < len(removed) || j < len(added) {
		if !(i < len(removed) && removed[i]) && !(j < len(added) && added[j]) {
			i, j = i+1, j+1
			continue
		}
		start := hunk{oldStart: i, newStart: j}
		for i < len(removed) && removed[i] {
			i++
		}
		for j < len(added) && added[j] {
			j++
		}
		before := min(context, start.oldStart, start.newStart)
		after := min(context, len(removed)-i, len(added)-j)
		next := hunk{start.oldStart - before, i + after, start.newStart - before, j + after}
		if last := len(found) - 1; last >= 0 && next.oldStart <= found[last].oldEnd {
			found[last].oldEnd, found[last].newEnd = next.oldEnd, next.newEnd
		} else {
			found = append(found, next)
		}
	}
	return found
}

func (h hunk) write(out *strings.Builder, oldLines, newLines []string, removed, added []bool) {
	fmt.Fprintf(out, "@@ -%s +%s @@\n", span(h.oldStart, h.oldEnd), span(h.newStart, h.newEnd))
	i, j := h.oldStart, h.newStart
	for i < h.oldEnd || j < h.newEnd {
		switch {
		case i < h.oldEnd && removed[i]:
			writeLine(out, '-', oldLines[i])
			i++
		case j < h.newEnd && added[j]:
			writeLine(out, '+', newLines[j])
			j++
		default:
			writeLine(out, ' ', oldLines[i])
			i, j = i+1, j+1
		}
	}
}

// span is a range as a hunk's head has it: its first line and its length, which is left out if it is 1.
func span(start, end int) string {
	switch end - start {
	case 0:
		return fmt.Sprintf("%d,0", start)
	case 1:
		return fmt.Sprint(start + 1)
	default:
		return fmt.Sprintf("%d,%d", start+1, end-start)
	}
}

func writeLine(out *strings.Builder, mark byte, line string) {
	out.WriteByte(mark)
	out.WriteString(line)
	if !strings.HasSuffix(line, "\n") {
		out.WriteString("\n\\ No newline at end of file\n")
	}
}
