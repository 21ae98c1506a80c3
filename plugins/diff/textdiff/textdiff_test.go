package textdiff

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

func TestUnified(t *testing.T) {
	for _, test := range []struct {
		name, old, new, expected string
		context                  int
	}{
		{"equal", "a\nb\n", "a\nb\n", "", 3},
		{"both empty", "", "", "", 3},
		{"a changed line", "a\nb\nc\n", "a\nx\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n", 3},
		{"no context", "a\nb\nc\n", "a\nx\nc\n", "@@ -2 +2 @@\n-b\n+x\n", 0},
		{"from nothing", "", "a\n", "@@ -0,0 +1 @@\n+a\n", 3},
		{"to nothing", "a\nb\n", "", "@@ -1,2 +0,0 @@\n-a\n-b\n", 3},
		{"no line feed at the end", "a\nb", "a\nb\n", "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+b\n", 3},
		{"two hunks", "1\n2\n3\n4\n5\n", "x\n2\n3\n4\ny\n", "@@ -1,2 +1,2 @@\n-1\n+x\n 2\n@@ -4,2 +4,2 @@\n 4\n-5\n+y\n", 1},
		{"contexts that touch", "1\n2\n3\n4\n", "x\n2\n3\ny\n", "@@ -1,4 +1,4 @@\n-1\n+x\n 2\n 3\n-4\n+y\n", 1},
		{"a line that moved", "a\nb\nc\n", "b\nc\na\n", "@@ -1,3 +1,3 @@\n-a\n b\n c\n+a\n", 3},
	} {
		expected := test.expected
		if expected != "" {
			expected = "--- old\n+++ new\n" + expected
		}
		if found := Unified(test.old, test.new, test.context); found != expected {
			t.Errorf("%s: found\n%s\nexpected\n%s", test.name, found, expected)
		}
	}
}

// patch applies a diff that shows every line.
func patch(diff string) (oldText, newText string) {
	var before, after strings.Builder
	for _, line := range strings.SplitAfter(diff, "\n")[2:] {
		if line == "" || line[0] == '@' {
			continue
		}
		if line[0] != '+' {
			before.WriteString(line[1:])
		}
		if line[0] != '-' {
			after.WriteString(line[1:])
		}
	}
	return before.String(), after.String()
}

func TestADiffHasBothTexts(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	text := func(lines, words int) string {
		var out strings.Builder
		for range lines {
			fmt.Fprintln(&out, random.Intn(words))
		}
		return out.String()
	}
	for range 300 {
		words := 1 + random.Intn(6)
		oldText, newText := text(random.Intn(30), words), text(random.Intn(30), words)
		diff := Unified(oldText, newText, 1000)
		if oldText == newText {
			continue
		}
		if before, after := patch(diff); before != oldText || after != newText {
			t.Fatalf("%q\n%q\n%s", oldText, newText, diff)
		}
	}
}

func TestTheSearchIsBounded(t *testing.T) {
	var oldText, newText strings.Builder
	for i := range 20_000 {
		fmt.Fprintln(&oldText, i%5003)
		fmt.Fprintln(&newText, i*7919%5003)
	}
	diff := Unified(oldText.String(), newText.String(), 100_000)
	if before, after := patch(diff); before != oldText.String() || after != newText.String() {
		t.Fatal("the diff lacks something")
	}
}
