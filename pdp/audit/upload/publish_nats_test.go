package upload

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func TestCheckpointsAreStoredOnceByAStream(t *testing.T) {
	s := natsServer(t, t.TempDir(), 0, 0)
	p, err := NewCheckpoints(CheckpointsConfig{NATS: NATSConfig{URL: s.ClientURL()}, Subject: "assay.audit.checkpoint", Log: origin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	patience := 20 * time.Second
	publish := func(text string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return p.Publish(ctx, []byte(text))
	}
	if err := publish("one"); err == nil || !strings.Contains(err.Error(), "no stream stores the subject") {
		t.Fatalf("where nobody stores it: %v", err)
	}
	js := client(t, s.ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "kept", Subjects: []string{"assay.audit.checkpoint"}, DenyDelete: true, DenyPurge: true}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "one", "another"} {
		if err := publish(text); err != nil {
			t.Fatal(err)
		}
	}
	kept := stored(t, js, "kept")
	if len(kept) != 2 || string(kept[0].Data) != "one" || string(kept[1].Data) != "another" || kept[1].Header.Get(LogHeader) != origin {
		t.Fatalf("%d messages", len(kept))
	}
	s.Shutdown()
	s.WaitForShutdown()
	patience = time.Second
	if err := publish("more"); err == nil {
		t.Error("it was published to a server that is away")
	}
}

func TestCheckpointsNeedASubjectAndAServer(t *testing.T) {
	for _, c := range []CheckpointsConfig{{NATS: NATSConfig{URL: "nats://127.0.0.1:1"}}, {Subject: "a"}} {
		if _, err := NewCheckpoints(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
