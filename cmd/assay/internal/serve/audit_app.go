package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// keepAudit makes the trail, where the configuration wants one, and has changes go there.
func (a *App) keepAudit(d Deps, m *metrics) (err error) {
	observer := newAuditMetrics()
	a.audit, err = newAuditTrail(a.config, d, observer, m.vaultCalled, func() *policy.Revision { return a.engine.Revision() })
	if err != nil || a.audit == nil {
		return err
	}
	a.changes = bothChanges{a.audit.recorder, changeLog{d.Log}}
	a.refusals = newRefusals(a.changes, d.Log, a.now)
	return errors.Join(observer.register(a.registry, a.audit), a.audit.watchUploads(a.registry))
}

// StartAudit opens the log for a server and records what is in force. Run does it where it was not done before, and Run
// alone ends it.
func (a *App) StartAudit(ctx context.Context) error {
	if a.audit == nil || a.audit.stop != nil {
		return nil
	}
	if err := a.audit.start(ctx); err != nil {
		return err
	}
	activated, err := activatedConfig(a.config)
	if err == nil {
		activated.At = a.now()
		activated.Details["policy_revision"] = a.engine.Revision().ID()
		err = a.changes.RecordChange(ctx, activated)
	}
	if err != nil {
		return fmt.Errorf("audit: the configuration that comes into force cannot be recorded: %w", firstOf(err, a.audit.close()))
	}
	return nil
}

// firstOf is the error that counts; the other follows from it.
func firstOf(err, after error) error {
	if after != nil {
		return fmt.Errorf("%w (and then: %s)", err, after.Error())
	}
	return err
}

// auditForCommand has the log opened with the first record, if there comes one.
func (a *App) auditForCommand(ctx context.Context) {
	if a.audit == nil {
		return
	}
	a.audit.log.forCommand()
	a.audit.loadPseudonyms(ctx)
}

// activatedConfig describes a configuration by a digest over all of it. There is no secret in it: it names files.
func activatedConfig(c *config.Config) (pdp.Change, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return pdp.Change{}, err
	}
	sum := sha256.Sum256(text)
	issuers := make([]string, 0, len(c.Issuers))
	for i := range c.Issuers {
		issuers = append(issuers, c.Issuers[i].Issuer)
	}
	return pdp.Change{Kind: pdp.ConfigActivated, Target: "sha256:" + hex.EncodeToString(sum[:]), Details: map[string]any{
		"issuers": issuers, "audit_mode": c.Audit.Mode, "callers_required": !c.Open(), "grants": int64(len(c.Callers.Grants)),
	}}, nil
}

// Changes is where a process that is no server records what it changed: in the audit log, where the configuration has
// one, through its inbox while a server writes it, and in the service's log. It holds the log for one record at a time.
func Changes(c *config.Config, d Deps) (pdp.ChangeRecorder, error) {
	t, err := newAuditTrail(c, d, newAuditMetrics(), nil, nil)
	if err != nil || t == nil {
		return changeLog{d.Log}, err
	}
	t.log.forCommand()
	return &commandChanges{trail: t, to: bothChanges{t.recorder, changeLog{d.Log}}}, nil
}

type commandChanges struct {
	mu    sync.Mutex // one record at a time: the log is given back after each
	trail *auditTrail
	to    bothChanges
}

// RecordChange implements pdp.ChangeRecorder.
func (c *commandChanges) RecordChange(ctx context.Context, change pdp.Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.to.RecordChange(ctx, change), c.trail.log.close())
}
