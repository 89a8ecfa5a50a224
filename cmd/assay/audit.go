package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp/audit/report"
)

func newAudit(e env) *cobra.Command {
	return group("audit", "Verify, prove, read and answer with the audit log", newAuditReport(e), newAuditReplay(e), newAuditVerify(e), newAuditProve(e), newAuditKeys(e), newAuditTail(e), newAuditQuery(e), newAuditShow(e), newAuditExport(e))
}

// auditPlace says which log a command reads: the folder of --dir or, without it, audit.dir of the configuration.
type auditPlace struct {
	dir, config string
}

// flags adds --dir and --config to a command.
func (p *auditPlace) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.dir, "dir", "", "folder of the log (default audit.dir of the configuration)")
	cmd.Flags().StringVarP(&p.config, "config", "c", "", "configuration file")
}

// again gives the flags that name the same log once more, for a command that is shown to a person.
func (p *auditPlace) again() string {
	var flags string
	for _, flag := range []struct{ name, value string }{{"--dir", p.dir}, {"--config", p.config}} {
		if flag.value != "" {
			flags += " " + flag.name + " " + report.Quote(flag.value)
		}
	}
	return flags
}

// find answers the log's folder, which must be there. Reading needs no lock: a server may be writing it.
func (p *auditPlace) find() (string, error) {
	dir := p.dir
	if dir == "" && p.config != "" {
		c, err := readConfig(p.config)
		if err != nil {
			return "", err
		}
		if dir = c.Audit.Dir; dir == "" {
			return "", fmt.Errorf("%s has no audit.dir: it keeps no audit log", p.config)
		}
	}
	if dir == "" {
		return "", errors.New("which audit log? Give its folder with --dir, or a configuration with --config")
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("there is no audit log to read: %w", err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("the audit log is a folder, %s is not one", dir)
	}
	for _, name := range []string{"segments", "checkpoints", "checkpoint", "tile"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return dir, nil // what else is missing is for the command to say
		}
	}
	return "", fmt.Errorf("there is no audit log to read: %s holds none of a log's files; name the folder that audit.dir names", dir)
}
