// Package letters has the tool's logic, in plain Go: `go test ./letters` runs it natively.
package letters

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Count returns how often a letter occurs in a text. Upper and lower case are the same letter.
func Count(text string, letter string) (uint32, error) {
	if utf8.RuneCountInString(letter) != 1 {
		return 0, errors.New("`letter` must be one character")
	}
	return uint32(strings.Count(strings.ToLower(text), strings.ToLower(letter))), nil
}
