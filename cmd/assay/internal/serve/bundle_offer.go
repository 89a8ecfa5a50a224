package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// offered takes what a bundle's source delivers. Its error says that this content is not put in force.
func (l *policyLoader) offered(ctx context.Context, i int, loaded bundles.Loaded, err error) error {
	if err != nil {
		return l.offer(ctx, i, nil, err)
	}
	if loaded.Bundle == nil { // unchanged: the source is reached
		l.working.Lock()
		defer l.working.Unlock()
		l.reached(i)
		return nil
	}
	return l.offer(ctx, i, &piece{digest: loaded.Bundle.Digest, bundle: loaded.Bundle, loaded: loaded}, nil)
}

// offer tries to put the new content of one part in force: with everything else that waits, and else alone.
func (l *policyLoader) offer(ctx context.Context, i int, fresh *piece, err error) error {
	l.working.Lock()
	defer l.working.Unlock()
	if err == nil {
		err = l.rolledBack(i, fresh)
	}
	if err != nil {
		l.failed(ctx, i, err)
		return err
	}
	if same(fresh, l.inForce[i]) {
		l.waiting[i] = nil
		l.renamed(i, fresh)
		l.solved(i)
		return nil
	}
	l.waiting[i] = fresh
	whole := l.overlaid(func(int) bool { return true })
	if slices.Contains(whole, nil) {
		return nil // another part was not read yet, and says so
	}
	if err = l.try(ctx, whole); err == nil {
		return nil
	}
	if alone := l.overlaid(func(j int) bool { return j == i }); !slices.Contains(alone, nil) && !slices.EqualFunc(alone, whole, same) {
		if err = l.try(ctx, alone); err == nil {
			return nil
		}
	}
	l.failed(ctx, i, err)
	return err
}

// overlaid is what is in force with what waits over it, where it is wanted.
func (l *policyLoader) overlaid(wanted func(int) bool) []*piece {
	pieces := slices.Clone(l.inForce)
	for i, w := range l.waiting {
		if w != nil && wanted(i) {
			pieces[i] = w
		}
	}
	return pieces
}

// rolledBack refuses an older bundle by what is in force, where no mark is kept that would.
func (l *policyLoader) rolledBack(i int, fresh *piece) error {
	last := l.inForce[i]
	if l.kept != nil || fresh.bundle == nil || last == nil || same(last, fresh) || !last.bundle.RollbackProtected() {
		return nil
	}
	if !fresh.bundle.RollbackProtected() || fresh.bundle.Sequence <= last.bundle.Sequence {
		return &bundles.RefusedError{Name: l.parts[i].name, Reason: bundles.ReasonOlder, Detail: fmt.Sprintf(
			"its sequence is %d, and %d is in force; build it with a higher one", fresh.bundle.Sequence, last.bundle.Sequence)}
	}
	return nil
}

// try puts pieces in force, one for each part, or says why they cannot be.
func (l *policyLoader) try(ctx context.Context, pieces []*piece) error {
	began := l.now()
	revision, err := compilePieces(ctx, l.c, l.parts, pieces)
	l.metrics.compiled(l.now().Sub(began))
	if err != nil {
		return err
	}
	if err := l.raise(pieces); err != nil {
		return err
	}
	l.put(revision)
	before := l.inForce
	l.inForce, l.revision = slices.Clone(pieces), revision.ID()
	l.mu.Lock()
	l.loaded = true
	l.mu.Unlock()
	for i, p := range pieces {
		if same(l.waiting[i], p) {
			l.waiting[i] = nil
		}
		if same(before[i], p) {
			continue
		}
		if !p.kept {
			l.solved(i)
		}
		l.activated(ctx, i, p)
	}
	return nil
}

// raise has the marks on the disk before what they stand for decides anything, so that no crash between lets an older
// bundle back in. A mark that cannot be written is told when the bundle is kept; see keep.
func (l *policyLoader) raise(pieces []*piece) error {
	if l.kept == nil || !l.owner {
		return nil
	}
	for i, p := range pieces {
		if p.bundle == nil || same(p, l.inForce[i]) {
			continue
		}
		if refused, ok := errors.AsType[*bundles.RefusedError](l.kept.marks.Raise(p.bundle)); ok {
			return refused
		}
	}
	return nil
}

// activated tells that a piece is in force, and keeps it for the next start. A process that only asks for one
// decision does neither: the server it stands beside has.
func (l *policyLoader) activated(ctx context.Context, i int, p *piece) {
	if !l.owner {
		return
	}
	name := l.what + l.parts[i].name
	details := map[string]any{"digest": p.digest, "policy_revision": l.revision, "from_state_dir": p.kept}
	if b := p.bundle; b != nil {
		details["revision"], details["sequence"] = b.Revision, b.Sequence
		details["signed"], details["rollback_protected"] = b.Signed, b.RollbackProtected()
		if b.KeyID != "" {
			details["key_id"] = b.KeyID
		}
	}
	l.metrics.activated(name, l.now())
	l.record(ctx, pdp.Change{Kind: pdp.BundleActivated, At: l.now(), Target: name, Details: details})
	l.keep(i, p)
}

// own makes this process the one that tells and keeps what is in force.
func (l *policyLoader) own(ctx context.Context) {
	l.working.Lock()
	defer l.working.Unlock()
	l.owner = true
	for i, p := range l.inForce {
		if p != nil {
			l.activated(ctx, i, p)
		}
	}
}

// keep writes to the state directory. A bundle is in force even where that fails: a full disk must not keep an old
// policy alive. It is told, because the next start would not know of it.
func (l *policyLoader) keep(i int, p *piece) {
	if l.kept == nil || !l.owner || p.bundle == nil || p.kept {
		return
	}
	if err := l.kept.save(l.parts[i], p.loaded); err != nil {
		l.log.Error("a bundle is in force and could not be kept for the next start", "bundle", l.what+l.parts[i].name, "error", err.Error())
		l.metrics.refused(l.what+l.parts[i].name, "not_kept")
	}
}

// renamed keeps the server's new name for the same content.
func (l *policyLoader) renamed(i int, fresh *piece) {
	if last := l.inForce[i]; last.bundle != nil && (last.kept || last.loaded.ETag != fresh.loaded.ETag) {
		l.inForce[i] = fresh
		l.keep(i, fresh)
	}
}

// failed reports why the newest content of a part is not in force; the same reason only once.
func (l *policyLoader) failed(ctx context.Context, i int, err error) {
	name := l.what + l.parts[i].name
	p := &problem{reason: reasonOf(err), text: textOf(err)}
	l.metrics.refused(name, p.reason)
	l.mu.Lock()
	again := l.problems[i] != nil && *l.problems[i] == *p
	// That a source is out of reach does not make what it offered last any better.
	if p.reason != reasonUnavailable || l.problems[i] == nil {
		l.problems[i] = p
	}
	l.mu.Unlock()
	if again || ctx.Err() != nil {
		return
	}
	l.log.Warn("a part of the policy is not put in force", "bundle", name, "reason", p.reason, "detail", p.text)
	if p.reason != reasonUnavailable {
		l.record(ctx, pdp.Change{Kind: pdp.BundleRefused, At: l.now(), Target: name, Reason: p.reason})
	}
}

func (l *policyLoader) solved(i int) {
	l.mu.Lock()
	l.problems[i] = nil
	l.mu.Unlock()
	l.metrics.solved(l.what + l.parts[i].name)
}

// reached takes back that a source is out of reach.
func (l *policyLoader) reached(i int) {
	l.mu.Lock()
	unavailable := l.problems[i] != nil && l.problems[i].reason == reasonUnavailable
	l.mu.Unlock()
	if unavailable {
		l.solved(i)
	}
}

func (l *policyLoader) record(ctx context.Context, c pdp.Change) {
	if err := l.changes.RecordChange(ctx, c); err != nil {
		l.log.Error("a change was made and could not be recorded", "kind", string(c.Kind), "target", c.Target, "error", err.Error())
	}
}

// reasonOf gives one of a few words, for metrics and change records.
func reasonOf(err error) string {
	if refused, ok := errors.AsType[*bundles.RefusedError](err); ok {
		return string(refused.Reason)
	}
	if _, ok := errors.AsType[*policy.CompileError](err); ok {
		return reasonCompile
	}
	if _, ok := errors.AsType[*policy.ConfigError](err); ok {
		return reasonConfig
	}
	return reasonUnavailable
}

// textOf is the reason in full. A refusal's own text repeats the bundle's name and the reason.
func textOf(err error) string {
	if refused, ok := errors.AsType[*bundles.RefusedError](err); ok {
		return refused.Detail
	}
	return err.Error()
}
