// A program in Go for WASI 0.1: `csvjson [-d DELIMITER] [FILE]` turns CSV with a header into JSON, a document a line. It reads
// standard input or a file. It exits with 65 if the input isn't CSV, with 66 if the file can't be read, and panics if the
// environment asks for it.
package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	delimiter := flag.String("d", ",", "the delimiter")
	flag.Parse()
	if why := os.Getenv("PANIC"); why != "" {
		panic(why)
	}
	input := io.Reader(os.Stdin)
	if name := flag.Arg(0); name != "" {
		file, err := os.Open(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(66)
		}
		input = file
	}
	reader := csv.NewReader(input)
	reader.Comma = []rune(*delimiter)[0]
	header, err := reader.Read()
	output := json.NewEncoder(os.Stdout)
	for err == nil {
		var row []string
		if row, err = reader.Read(); err == nil {
			document := map[string]string{}
			for at, name := range header {
				document[name] = row[at]
			}
			err = output.Encode(document)
		}
	}
	if !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(65)
	}
}
