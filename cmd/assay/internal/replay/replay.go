// Package replay judges a log's decisions again under another policy and counts what would change.
//
// Records are read by one goroutine, decoded and judged by as many as there are processors, each of which counts for
// itself; counts, a few examples and what the judge remembers, which is bounded, are all that is kept, so that the length
// of the log costs time and no memory. What comes out does not depend on which goroutine judged what.
package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/policy/workbench"
)

// Config of a run.
type Config struct {
	// Judge knows the policies; required.
	Judge *workbench.Replay
	// Examples is how many decisions are named for each kind of change; default 3.
	Examples int
	// Workers is how many judge at once; default one for each processor.
	Workers int
}

// batchRecords are handed from who reads to who judges at once.
const batchRecords = 128

// Run judges the decisions among the records; changes are passed over.
func Run(ctx context.Context, c Config, records iter.Seq2[index.Found, error]) (*Summary, error) {
	if c.Judge == nil {
		return nil, errors.New("replay: Judge is required")
	}
	if c.Examples <= 0 {
		c.Examples = 3
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	group, ctx := errgroup.WithContext(ctx)
	batches := make(chan []index.Found)
	group.Go(func() error {
		defer close(batches)
		return readBatches(ctx, records, batches)
	})
	sums := make([]*Summary, c.Workers)
	for i := range sums {
		sums[i] = newSummary(c.Examples)
		group.Go(func() error {
			for batch := range batches {
				for n := range batch {
					if err := sums[i].judge(ctx, c.Judge, &batch[n]); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, s := range sums[1:] {
		sums[0].add(s)
	}
	return sums[0], nil
}

func readBatches(ctx context.Context, records iter.Seq2[index.Found, error], batches chan<- []index.Found) error {
	var batch []index.Found
	hand := func() error {
		select {
		case batches <- batch:
			batch = nil
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for found, err := range records {
		if err != nil {
			return err
		}
		if found.Row.Kind != index.KindDecision {
			continue
		}
		if batch = append(batch, found); len(batch) == batchRecords {
			if err := hand(); err != nil {
				return err
			}
		}
	}
	if len(batch) > 0 {
		return hand()
	}
	return nil
}

// event is what is read of a record here. Input stays as it was written, whatever is in it.
type event struct {
	Bundles map[string]struct {
		Revision string `json:"revision"`
	} `json:"bundles"`
	Input  map[string]any `json:"input"`
	Result struct {
		Allow   bool `json:"allow"`
		Reasons []struct {
			Code        string `json:"code"`
			Enforcement string `json:"enforcement"`
		} `json:"reasons"`
	} `json:"result"`
	Erased []string `json:"erased"`
	Masked []string `json:"masked"`
	Custom struct {
		Assay struct {
			Floor         []string `json:"floor"`
			ErasedUnnamed int      `json:"erased_unnamed"`
		} `json:"assay"`
	} `json:"custom"`
}

// withoutInput names what a record lacks that tells nothing of what was decided upon.
const withoutInput = "input"

// read makes a recorded decision of the text of a record; its Input is nil where the record has none.
func read(text []byte) (*workbench.Record, error) {
	var e event
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&e); err != nil {
		return nil, err
	}
	r := &workbench.Record{
		Input: e.Input, Erased: e.Erased, Masked: e.Masked, Unnamed: e.Custom.Assay.ErasedUnnamed > 0,
		Floor: e.Custom.Assay.Floor, Revision: e.Bundles["assay"].Revision,
	}
	r.Was.Allow = e.Result.Allow
	r.Was.Findings = make([]workbench.Finding, len(e.Result.Reasons))
	for i, reason := range e.Result.Reasons {
		r.Was.Findings[i] = workbench.Finding{Code: reason.Code, Enforcement: reason.Enforcement}
	}
	workbench.SortFindings(r.Was.Findings)
	return r, nil
}

func (s *Summary) judge(ctx context.Context, by *workbench.Replay, found *index.Found) error {
	record, err := read(found.Record.Event)
	if err != nil {
		return fmt.Errorf("record %d cannot be judged: %w", found.Record.Index, err)
	}
	if record.Input == nil { // one such record is no reason to leave out all others
		s.count(found, record, &workbench.Replayed{Undecidable: []string{withoutInput}})
		return nil
	}
	again, err := by.Judge(ctx, record)
	if err != nil {
		return fmt.Errorf("record %d: %w", found.Record.Index, err)
	}
	s.count(found, record, again)
	return nil
}
