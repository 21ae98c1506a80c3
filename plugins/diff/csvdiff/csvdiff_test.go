package csvdiff

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestRowsAreComparedByKey(t *testing.T) {
	before := "id,name,age\n1,Ada,36\n2,\"Bo, B\",40\n3,Cy,1\n"
	after := "name,id,city\nCy,3,Rome\n\"Bo, C\",2,Oslo\nDi,4,Bern\n"
	diff, err := Compare(before, after, []string{"id"}, ',')
	if err != nil {
		t.Fatal(err)
	}
	expected := &Diff{
		Added:      []Row{{[]string{"4"}, []Cell{{"name", "Di"}, {"id", "4"}, {"city", "Bern"}}}},
		Removed:    []Row{{[]string{"1"}, []Cell{{"id", "1"}, {"name", "Ada"}, {"age", "36"}}}},
		Changed:    []RowChange{{[]string{"2"}, []CellChange{{"name", "Bo, B", "Bo, C"}}}},
		AddedCount: 1, RemovedCount: 1, ChangedCount: 1, UnchangedCount: 1,
		AddedColumns: []string{"city"}, RemovedColumns: []string{"age"},
	}
	if !reflect.DeepEqual(diff, expected) {
		t.Fatalf("%+v", diff)
	}
}

func TestSeveralColumnsAreAKey(t *testing.T) {
	diff, err := Compare("a;b;c\nx;y,z;1\nx,y;z;2\n", "\ufeffa;b;c\nx;y,z;1\nx,y;z;3\n", []string{"a", "b"}, ';')
	if err != nil || diff.UnchangedCount != 1 || diff.ChangedCount != 1 {
		t.Fatal(diff, err)
	}
}

func TestWhatCannotBeComparedIsRefused(t *testing.T) {
	for words, input := range map[string][3]string{
		"`old` isn't CSV: record on line 2": {"id,a\n1\n", "id,a\n", "id"},
		"`old` isn't CSV: parse error":      {"id\n\"1\n", "id\n", "id"},
		"`new` is empty":                    {"id\n", "", "id"},
		"`old` has no column `x`":           {"id\n", "id\n", "x"},
		"rows 1 and 3":                      {"id\n1\n2\n1\n", "id\n", "id"},
		"two columns `a`":                   {"id,a,a\n", "id\n", "id"},
	} {
		_, err := Compare(input[0], input[1], []string{input[2]}, ',')
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", words, err)
		}
	}
	if _, err := Compare("a\n", "a\n", nil, ','); err == nil {
		t.Error("no key")
	}
}

func TestListsAreBoundedAndCountsAreNot(t *testing.T) {
	var rows strings.Builder
	for i := range 500 {
		fmt.Fprintln(&rows, i)
	}
	diff, err := Compare("id\n", "id\n"+rows.String(), []string{"id"}, ',')
	if err != nil || len(diff.Added) != MaxRows || diff.AddedCount != 500 {
		t.Fatal(len(diff.Added), diff.AddedCount, err)
	}
}
