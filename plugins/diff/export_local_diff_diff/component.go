// Package export_local_diff_diff connects the logic with the functions of wit/world.wit. The bindings call it by this name.
package export_local_diff_diff

import (
	"math"
	"unicode"

	"wit_component/csvdiff"
	. "wit_component/local_diff_diff"
	"wit_component/textdiff"

	. "go.bytecodealliance.org/pkg/wit/types"
)

// Text is the function `text`.
func Text(oldText string, newText string, context Option[uint32]) string {
	unified := textdiff.Unified(oldText, newText, int(min(context.SomeOr(3), math.MaxInt32)))
	if unified == "" {
		return "No differences."
	}
	return unified
}

// Csv is the function `csv`.
func Csv(oldText string, newText string, key []string, delimiter Option[rune]) Result[TableDiff, Problem] {
	comma := delimiter.SomeOr(',')
	if comma == '"' || comma == '\r' || comma == '\n' || comma == unicode.ReplacementChar {
		return Err[TableDiff, Problem](MakeProblemInvalidInput("`delimiter` can't separate cells"))
	}
	diff, err := csvdiff.Compare(oldText, newText, key, comma)
	if err != nil {
		return Err[TableDiff, Problem](MakeProblemInvalidInput(err.Error()))
	}
	return Ok[TableDiff, Problem](TableDiff{
		Added:          mapped(diff.Added, row),
		Removed:        mapped(diff.Removed, row),
		Changed:        mapped(diff.Changed, rowChange),
		AddedCount:     uint32(diff.AddedCount),
		RemovedCount:   uint32(diff.RemovedCount),
		ChangedCount:   uint32(diff.ChangedCount),
		UnchangedCount: uint32(diff.UnchangedCount),
		AddedColumns:   diff.AddedColumns,
		RemovedColumns: diff.RemovedColumns,
	})
}

func row(from csvdiff.Row) Row {
	return Row{from.Key, mapped(from.Cells, func(cell csvdiff.Cell) Cell { return Cell(cell) })}
}

func rowChange(from csvdiff.RowChange) RowChange {
	return RowChange{from.Key, mapped(from.Cells, func(cell csvdiff.CellChange) CellChange { return CellChange(cell) })}
}

func mapped[From, To any](from []From, function func(From) To) []To {
	to := make([]To, len(from))
	for index, item := range from {
		to[index] = function(item)
	}
	return to
}
