// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"
)

// nowhere is a kubeconfig for an API server that is not there.
const nowhere = `{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a, namespace: agents}}],
  clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}], users: [{name: a, user: {token: canary-bearer-token}}]}`

// kept keeps what passes through it.
type kept struct {
	io.Writer
	mu   sync.Mutex
	text bytes.Buffer
}

func (k *kept) Write(p []byte) (int, error) {
	k.mu.Lock()
	k.text.Write(p)
	k.mu.Unlock()
	return k.Writer.Write(p)
}

// TestTheServersStandardOutputIsTheProtocolAndNothingElse: even while nothing works.
func TestTheServersStandardOutputIsTheProtocolAndNothingElse(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(nowhere), 0o600); err != nil {
		t.Fatal(err)
	}
	in, ask := io.Pipe()
	answer, out := io.Pipe()
	output, complaints := &kept{Writer: out}, &kept{Writer: io.Discard}
	code := make(chan int)
	go func() {
		streams := genericiooptions.IOStreams{In: in, Out: output, ErrOut: complaints}
		code <- Run(t.Context(), []string{"mcp", "--kubeconfig", kubeconfig}, streams, clock.RealClock{})
	}()
	session, err := sdk.NewClient(&sdk.Implementation{Name: "a"}, nil).Connect(t.Context(), &sdk.IOTransport{Reader: answer, Writer: ask}, nil)
	if err != nil {
		t.Fatal(err)
	}
	result, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "capabilities"})
	if err != nil {
		t.Fatal(err)
	}
	said := result.Content[0].(*sdk.TextContent).Text
	if !result.IsError || !strings.Contains(said, "connection refused") || !strings.Contains(said, "try again later") {
		t.Errorf("it says %s", said)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
	if got := <-code; got != 0 {
		t.Errorf("it ended with %d: %s", got, complaints.text.String())
	}
	for line := range strings.Lines(output.text.String()) {
		var message struct{ JSONRPC string }
		if json.Unmarshal([]byte(line), &message) != nil || message.JSONRPC != "2.0" {
			t.Errorf("it printed %s", line)
		}
	}
	if strings.Contains(output.text.String()+complaints.text.String(), "canary-bearer-token") {
		t.Error("its own token stands in what it printed")
	}
}

func TestTheServerDoesNotBeginWithoutAKubeconfig(t *testing.T) {
	var output, complaints bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &output, ErrOut: &complaints}
	if code := Run(t.Context(), []string{"mcp", "--kubeconfig", filepath.Join(t.TempDir(), "none")}, streams, clock.RealClock{}); code != 1 || output.Len() != 0 || complaints.Len() == 0 {
		t.Errorf("it ended with %d, printed %q and complained %q", code, output.String(), complaints.String())
	}
}
