// Catalogue writes CATALOGUE.md and CATALOGUE.json: every reason code with what it means, a token that its rule denies and
// the smallest change that passes, every requirement with what answers it, and what the detectors of sensitive values
// reach on the corpus. All is derived: from the metadata of the rules, from what Go's floor says of itself, from the
// default configuration, from the list of requirements and from examples.json, whose examples are executed first. Only
// the sentences for requirements that no code can answer stand here.
//
// go generate ./policies runs it; a test fails where the files are not what it writes.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: catalogue DIRECTORY")
		os.Exit(2)
	}
	files, err := catalogue(os.Args[1])
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], name), text, 0o644) //nolint:gosec // documents for everyone to read
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "catalogue:", err)
		os.Exit(1)
	}
}

// catalogue gives both files by their names.
func catalogue(dir string) (map[string][]byte, error) {
	c, err := gather(dir)
	if err != nil {
		return nil, err
	}
	people, err := c.forPeople()
	if err != nil {
		return nil, err
	}
	programs, err := c.forPrograms()
	return map[string][]byte{"CATALOGUE.md": people, "CATALOGUE.json": programs}, err
}
