// Package export_wit_world connects the logic with the functions of wit/world.wit. The bindings call it by this name.
package export_wit_world

import (
	"wit_component/letters"

	. "go.bytecodealliance.org/pkg/wit/types"
)

// CountLetter is the function `count-letter`.
func CountLetter(text string, letter string) Result[uint32, string] {
	count, err := letters.Count(text, letter)
	if err != nil {
		return Err[uint32, string](err.Error())
	}
	return Ok[uint32, string](count)
}
