//go:build !unix

package devvault

import "os/exec"

func detach(*exec.Cmd) {}
