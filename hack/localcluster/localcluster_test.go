// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAClusterNameIsSafeInPathsAndCgroups(t *testing.T) {
	for name, valid := range map[string]bool{
		"default": true, "a": true, "two-words-2": true,
		"-a": false, "a-": false, "A": false, "a/b": false, "..": false, strings.Repeat("a", 41): false,
	} {
		_, err := Options{Name: name}.withDefaults()
		if (err == nil) != valid {
			t.Errorf("name %q: got error %v, want valid %t", name, err, valid)
		}
	}
}

func TestAnUnnamedClusterNeverTakesAnothersName(t *testing.T) {
	first, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	second, err := Options{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if first.Name == second.Name {
		t.Errorf("two clusters are both called %q", first.Name)
	}
}

func TestTheStateDirectoryFollowsXDG(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/somewhere")
	o, err := Options{Name: "x"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if want := "/somewhere/valetkey/x"; o.StateDir != want {
		t.Errorf("got %s, want %s", o.StateDir, want)
	}
	t.Setenv("XDG_STATE_HOME", "relative/paths/are/to/be/ignored")
	t.Setenv("HOME", "/home/me")
	if got, want := stateBase(), "/home/me/.local/state/valetkey"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStartTimeSurvivesAStrangeProgramName(t *testing.T) {
	after := strings.Repeat("0 ", 17)
	for line, want := range map[string]uint64{
		"7 (etcd) S 1 " + after + "4711 0 0":         4711,
		"7 (a) b (c) S 1 " + after + "4712 0 0":      4712,
		"7 (etcd) Z 1 " + after + "4711 0 0":         0, // a zombie has ended
		"7 (etcd) S 1 2 3":                           0,
		"8 (kube-apiserver) R 1 " + after + "99 1 1": 99,
	} {
		got, err := parseStartTime([]byte(line))
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: got %d, %v; want %d", line, got, err, want)
		}
	}
}

func TestEtcdSkipsFsyncOnlyForFastTests(t *testing.T) {
	for name, c := range map[string]struct {
		fast, durable, skips bool
	}{
		"as shipped":       {},
		"durable alone":    {durable: true},
		"fast":             {fast: true, skips: true},
		"fast but durable": {fast: true, durable: true},
	} {
		cluster := &Cluster{rec: record{Fast: c.fast, Durable: c.durable}}
		if got := slices.Contains(cluster.etcd().Args, "--unsafe-no-fsync"); got != c.skips {
			t.Errorf("%s: etcd skips fsync: %t, want %t", name, got, c.skips)
		}
	}
}

func TestKillEndsTheProcessThatWasMeantAndNoOther(t *testing.T) {
	sleeper := exec.Command("sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = sleeper.Wait(); close(ended) }()
	p, err := processOf(sleeper.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}

	other := p
	other.Start++
	if err := other.kill(time.Second); err != nil {
		t.Fatal(err)
	}
	if !p.alive() {
		t.Fatal("a process was killed that only has the same number")
	}
	if err := p.kill(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	<-ended
	if p.alive() {
		t.Error("the process is still alive")
	}
	if err := p.kill(time.Second); err != nil {
		t.Errorf("killing again: %v", err)
	}
}

func TestABuildIsNamedByWhatDecidesItsResult(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module a")
	write("go.sum", "")
	key := func(s source) string {
		t.Helper()
		k, err := s.key(root)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	s := source{name: "p", dir: ".", pkg: "a", inputs: []string{"go.mod", "go.sum"}}
	before := key(s)
	if key(s) != before {
		t.Error("the same source has two names")
	}
	tagged := s
	tagged.tags = "x"
	if key(tagged) == before {
		t.Error("other build tags, the same name")
	}
	write("go.sum", "changed")
	if key(s) == before {
		t.Error("other modules, the same name")
	}
}

func TestTheKubernetesVersionComesFromThePin(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "hack", "pins", "kubernetes")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := kubernetesLdflags(root); err == nil {
		t.Error("no go.mod: want an error")
	}
	pin := "require (\n\tk8s.io/kube-openapi v0.0.1 // indirect\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(pin), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := kubernetesLdflags(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gitVersion=v1.37.2 ", "gitMajor=1 ", "gitMinor=37 ", "-s -w"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

func TestCertificatesNameTheUserAndChainToTheAuthority(t *testing.T) {
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := ca.save(dir); err != nil {
		t.Fatal(err)
	}
	loaded, err := loadAuthority(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := loaded.client("alice@example.com", "humans", "approvers")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(p.cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if cert.Subject.CommonName != "alice@example.com" || strings.Join(cert.Subject.Organization, ",") != "humans,approvers" {
		t.Errorf("got subject %s", cert.Subject)
	}
}

func TestAServersChainEndsWithTheAuthority(t *testing.T) {
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	p, err := ca.server([]string{issuerHost}, []string{serviceAddress})
	if err != nil {
		t.Fatal(err)
	}
	_, rest := pem.Decode(p.cert)
	if !bytes.Equal(rest, ca.certPEM) {
		t.Error("the authority's certificate is not the last of the chain, so its thumbprint cannot be pinned")
	}
}

func TestADigestReplacesTheTag(t *testing.T) {
	for name, want := range map[string]string{
		"localhost/valetkey:dev":       "localhost/valetkey@sha256:1",
		"localhost/valetkey":           "localhost/valetkey@sha256:1",
		"localhost:5000/valetkey":      "localhost:5000/valetkey@sha256:1",
		"localhost:5000/valetkey:v0.1": "localhost:5000/valetkey@sha256:1",
	} {
		if got := WithDigest(name, "sha256:1"); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestEventuallySaysWhatItWaitedFor(t *testing.T) {
	missing := errors.New("no such node")
	err := eventually(t.Context(), time.Millisecond, func(context.Context) error { return missing })
	if !errors.Is(err, missing) {
		t.Errorf("got %v", err)
	}
	calls := 0
	err = eventually(t.Context(), time.Minute, func(context.Context) error {
		if calls++; calls < 3 {
			return missing
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("got %v after %d calls, want success after 3", err, calls)
	}
}

func TestALockIsHeldUntilItIsReleased(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockDir(t.Context(), dir, func() {})
	if err != nil {
		t.Fatal(err)
	}
	impatient, cancel := context.WithCancel(t.Context())
	waited := false
	_, err = lockDir(impatient, dir, func() { waited = true; cancel() })
	if !errors.Is(err, context.Canceled) || !waited {
		t.Errorf("a second holder got the lock: %v", err)
	}
	unlock()
	again, err := lockDir(t.Context(), dir, func() {})
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestAMachineFailureIsExplained(t *testing.T) {
	if hint := buildHint("write /x: no space left on device"); !strings.Contains(hint, "go clean -cache") {
		t.Errorf("got %q", hint)
	}
	if hint := buildHint("undefined: foo"); hint != "" {
		t.Errorf("a mistake in the source is not the machine's: %q", hint)
	}
}

func TestDurationsReadWell(t *testing.T) {
	for d, want := range map[time.Duration]string{47 * time.Second: "47 s", 2 * time.Minute: "2 min", 10*time.Minute + 46*time.Second: "11 min"} {
		if got := roughly(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
	if got := clock(95 * time.Second); got != "1:35" {
		t.Errorf("got %q", got)
	}
}
