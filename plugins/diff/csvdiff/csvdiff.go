// Package csvdiff compares tables by key, in plain Go: `go test ./csvdiff` runs it natively.
package csvdiff

import (
	"encoding/csv"
	"fmt"
	"slices"
	"strings"
)

// MaxRows is how many rows of each kind are listed.
const MaxRows = 200

type Cell struct{ Column, Value string }

type Row struct {
	Key   []string
	Cells []Cell
}

type CellChange struct{ Column, Old, New string }

type RowChange struct {
	Key   []string
	Cells []CellChange
}

// Diff lists at most MaxRows rows of each kind. The counts are complete.
type Diff struct {
	Added, Removed                                         []Row
	Changed                                                []RowChange
	AddedCount, RemovedCount, ChangedCount, UnchangedCount int
	AddedColumns, RemovedColumns                           []string
}

// Compare finds the rows that differ. Rows are the same if their cells in the key columns are.
func Compare(oldText, newText string, key []string, delimiter rune) (*Diff, error) {
	if len(key) == 0 {
		return nil, fmt.Errorf("`key` is empty: name at least one column")
	}
	before, err := parse("old", oldText, key, delimiter)
	if err != nil {
		return nil, err
	}
	after, err := parse("new", newText, key, delimiter)
	if err != nil {
		return nil, err
	}
	diff := &Diff{}
	for _, column := range after.columns {
		if !slices.Contains(before.columns, column) {
			diff.AddedColumns = append(diff.AddedColumns, column)
		}
	}
	for _, column := range before.columns {
		if !slices.Contains(after.columns, column) {
			diff.RemovedColumns = append(diff.RemovedColumns, column)
		}
	}
	for index, record := range before.records {
		found, exists := after.byKey[before.keyOf(record)]
		if !exists {
			diff.RemovedCount++
			if len(diff.Removed) < MaxRows {
				diff.Removed = append(diff.Removed, before.row(index))
			}
			continue
		}
		cells := before.changes(record, after, after.records[found])
		if len(cells) == 0 {
			diff.UnchangedCount++
			continue
		}
		diff.ChangedCount++
		if len(diff.Changed) < MaxRows {
			diff.Changed = append(diff.Changed, RowChange{before.row(index).Key, cells})
		}
	}
	for index, record := range after.records {
		if _, exists := before.byKey[after.keyOf(record)]; !exists {
			diff.AddedCount++
			if len(diff.Added) < MaxRows {
				diff.Added = append(diff.Added, after.row(index))
			}
		}
	}
	return diff, nil
}

type table struct {
	columns []string
	// Where the key columns are.
	key     []int
	records [][]string
	byKey   map[string]int
}

func parse(name, text string, key []string, delimiter rune) (*table, error) {
	reader := csv.NewReader(strings.NewReader(strings.TrimPrefix(text, "\ufeff")))
	reader.Comma = delimiter
	records, err := reader.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("`%s` isn't CSV: %w", name, err)
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("`%s` is empty: the first row must name the columns", name)
	}
	t := &table{columns: records[0], records: records[1:], byKey: make(map[string]int)}
	for index, column := range t.columns {
		if slices.Contains(t.columns[:index], column) {
			return nil, fmt.Errorf("`%s` has two columns `%s`", name, column)
		}
	}
	for _, column := range key {
		index := slices.Index(t.columns, column)
		if index < 0 {
			return nil, fmt.Errorf("`%s` has no column `%s`; it has `%s`", name, column, strings.Join(t.columns, "`, `"))
		}
		t.key = append(t.key, index)
	}
	for index, record := range t.records {
		rowKey := t.keyOf(record)
		if first, exists := t.byKey[rowKey]; exists {
			return nil, fmt.Errorf("`%s` has the key `%s` in rows %d and %d: add a column to `key`", name,
				strings.Join(t.row(index).Key, "`, `"), first+1, index+1)
		}
		t.byKey[rowKey] = index
	}
	return t, nil
}

// keyOf is what identifies a record. Quotes keep ("a", "b,c") and ("a,b", "c") apart.
func (t *table) keyOf(record []string) string {
	var key strings.Builder
	for _, index := range t.key {
		fmt.Fprintf(&key, "%q,", record[index])
	}
	return key.String()
}

func (t *table) row(index int) Row {
	record := t.records[index]
	row := Row{}
	for _, position := range t.key {
		row.Key = append(row.Key, record[position])
	}
	for position, column := range t.columns {
		row.Cells = append(row.Cells, Cell{column, record[position]})
	}
	return row
}

// changes compares the cells of the columns that both tables have.
func (t *table) changes(record []string, other *table, otherRecord []string) []CellChange {
	var cells []CellChange
	for index, column := range t.columns {
		otherIndex := slices.Index(other.columns, column)
		if otherIndex >= 0 && record[index] != otherRecord[otherIndex] {
			cells = append(cells, CellChange{column, record[index], otherRecord[otherIndex]})
		}
	}
	return cells
}
