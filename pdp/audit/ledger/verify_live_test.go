package ledger

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"
)

// A log that is written, sealed, compressed, trimmed and signed all the while is sound whenever one looks.
func TestALogIsVerifiedWhileItIsWritten(t *testing.T) {
	keys := newSigning(t)
	clock := newClock()
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir, Now: clock.Now, Signer: keys, SegmentBytes: 8 << 10, Retention: time.Hour, Mode: Buffered})
	// A log without any checkpoint is a finding; this one has one from the start.
	if _, _, _, err := l.Append(t.Context(), clock.Now(), event(clock.Now(), 0)); err != nil {
		t.Fatal(err)
	}
	(&sealedLog{TB: t}).settle(l, 1)
	if err := l.checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		var err error
		for n := 0; ctx.Err() == nil && err == nil; n++ {
			clock.move(time.Second)
			_, _, _, err = l.Append(ctx, clock.Now(), event(clock.Now(), n))
			if err == nil && n%100 == 0 {
				err = l.checkpoint(ctx)
			}
			if err == nil && n%500 == 0 {
				err = l.compressSealed(ctx)
			}
			if err == nil && n%1000 == 0 {
				err = l.trim(ctx)
			}
			if err == nil && n%1000 == 0 { // a buffer that is never full drops nothing
				err = l.Flush(ctx)
			}
		}
		if ctx.Err() != nil {
			err = nil
		}
		ended <- err
	}()
	var last *Report
	for last == nil || last.First < 2000 {
		report, err := Verify(t.Context(), VerifyConfig{Dir: dir, Verifiers: keys.known})
		if err != nil {
			t.Fatal(err)
		}
		if !report.Sound() {
			t.Fatalf("%+v", report)
		}
		last = report
		select {
		case err := <-ended:
			t.Fatalf("the writer ended: %v", err)
		default:
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestACheckpointThatWasPublishedMustBeInTheHistory(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	history, err := mustReader(t, s.dir).Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	s.edit(checkpointsName, func(l [][]byte) [][]byte { return slices.Delete(l, 3, 4) })
	anchored := func(c *VerifyConfig) { c.Anchors = []Anchor{{Signed: []byte(history[3].Note)}} }
	r := s.verify(anchored)
	if len(r.Findings) != 1 || r.Findings[0].Kind != BadCheckpoint || r.Anchors != 1 {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(s.path(checkpointName)); err != nil {
		t.Fatal(err)
	}
}

// Whoever gives the wrong key hears so once, and not for every checkpoint there is.
func TestLinesWithTheSameWrongAreOneFinding(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	other := newSigning(t)
	wrong := s.verify(func(c *VerifyConfig) { c.Verifiers = other.known })
	found := slices.DeleteFunc(slices.Clone(wrong.Findings), func(f Finding) bool { return f.Line == 0 })
	if len(found) != 1 || found[0].Line != 1 || found[0].ThroughLine != 9 {
		t.Errorf("%+v", wrong.Findings)
	}
	s.edit(checkpointsName, func(l [][]byte) [][]byte {
		l[2], l[3], l[6] = []byte("{}\n"), []byte("{}\n"), []byte("{}\n")
		return l
	})
	r := s.verify(nil)
	if len(r.Findings) != 2 || r.Findings[0].Line != 3 || r.Findings[0].ThroughLine != 4 || r.Findings[1].Line != 7 || r.Findings[1].ThroughLine != 0 {
		t.Errorf("%+v", r.Findings)
	}
}

// The newest segment may be written on and sealed after its records were read. Of any other the seal was there before.
func TestASealThatCameAfterTheRecordsWereRead(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir, SegmentBytes: 2000})
	fill(t, l, 2)
	read := &verifier{c: VerifyConfig{Dir: dir, MaxFindings: 10}, segments: mustList(t, dir), spine: l.tree.clone()}
	length := l.offset
	waitFor(t, "the segment to be sealed", func() bool {
		fill(t, l, 1)
		return len(mustList(t, dir)) > 1
	})
	if read.checkSeal(read.segments[0], length); len(read.pending) > 0 {
		t.Errorf("%+v", read.pending)
	}
	read.segments = mustList(t, dir)
	if read.checkSeal(read.segments[0], length); len(read.pending) != 1 {
		t.Errorf("of a segment that had a next one: %+v", read.pending)
	}
}
