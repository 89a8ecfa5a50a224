//go:build unix

package devvault

import (
	"os/exec"
	"syscall"
)

// detach keeps a terminal's interrupt from the program: Assay, which still needs it to stop in order, ends it.
func detach(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
