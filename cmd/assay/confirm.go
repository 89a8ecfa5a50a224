package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// errNotConfirmed ends a dangerous command that nobody confirmed.
var errNotConfirmed = errors.New("nothing was changed: it was not confirmed")

// confirm asks a person whether to go on. Where standard input is no terminal there is nobody to ask: --yes is
// demanded instead.
func confirm(e env, yes bool, question string) error {
	if yes {
		return nil
	}
	file, ok := e.in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return fmt.Errorf("%s\n%w: there is no terminal to ask on, give --yes", question, errNotConfirmed)
	}
	if _, err := fmt.Fprintf(e.err, "%s\nType yes to go on: ", question); err != nil {
		return err
	}
	answer, err := bufio.NewReader(file).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" {
		return errNotConfirmed
	}
	return nil
}
