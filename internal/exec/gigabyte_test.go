// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package exec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/delivery"
)

const gigabyte = 1 << 30

// flood writes so many bytes of a program's output, in which secrets are planted at random places and in random forms, in
// pieces of random size; the same each time. It returns how many there were.
func flood(w io.Writer, size int, secrets []string) (planted int, err error) {
	r := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // a test's own choice, the same each time
	line := []byte(
		"2026-11-25T15:20:00Z INFO uploaded previews/web-app/pr-184/index.html in 32ms, etag=9f86d081884c7d659a2feaa0c55ad015\n",
	)
	block := bytes.Repeat(line, 1+(1<<20)/len(line))
	for written := 0; written < size; {
		n := 1 + r.IntN(len(block))
		piece := slices.Concat(block[:n], []byte(writtenAs(secrets[r.IntN(len(secrets))], r)), []byte("\n"))
		planted++
		for len(piece) > 0 {
			k := min(1+r.IntN(512<<10), len(piece))
			if _, err := w.Write(piece[:k]); err != nil {
				return planted, err
			}
			written += k
			piece = piece[k:]
		}
	}
	return planted, nil
}

// sieve looks for every form of every secret in what is written to it.
type sieve struct {
	forms [][]byte
	// tail is the end of what was written before, without line ends; in border, which has them, a mark may have begun.
	tail, border []byte
	found, marks int
	bytes        int64
}

func (s *sieve) Write(p []byte) (int, error) {
	text := append(s.tail, bytes.ReplaceAll(p, []byte("\n"), nil)...)
	for _, form := range s.forms {
		if bytes.Contains(text, form) {
			s.found++
		}
	}
	marked := append(s.border, p...)
	s.marks += bytes.Count(marked, []byte(mark))
	s.border = slices.Clone(marked[max(0, len(marked)-len(mark)+1):])
	s.bytes += int64(len(p))
	s.tail = slices.Clone(text[max(0, len(text)-4096):])
	return len(p), nil
}

// TestAGigabyteOfOutput sends it through valetkey-exec and through cat.
func TestAGigabyteOfOutput(t *testing.T) {
	secrets := secretsLikeReal()[:3]
	if size, err := strconv.Atoi(os.Getenv(floodSize)); err == nil {
		if _, err := flood(os.Stdout, size, secrets); err != nil {
			os.Exit(1)
		}
		os.Exit(23)
	}
	list, err := json.Marshal(secrets)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	files := map[string]string{
		v1alpha1.ExecSecretsFile: string(list),
		v1alpha1.ExecTermsFile:   string(delivery.Terms{Issued: now, Expires: now.Add(time.Hour)}.Encode()),
	}
	planted, err := flood(io.Discard, gigabyte, secrets)
	if err != nil {
		t.Fatal(err)
	}
	s := &sieve{}
	for _, secret := range secrets {
		for _, form := range formsOf(secret) {
			s.forms = append(s.forms, []byte(form))
		}
	}
	if code, _ := through(t, files, gigabyte, s); code != 23 {
		t.Errorf("exit code %d, want the command's own, 23", code)
	}
	if s.found > 0 {
		t.Errorf("%d times, a secret got through", s.found)
	}
	if s.marks < planted {
		t.Errorf("%d places are marked, of %d", s.marks, planted)
	}
	const part = gigabyte / 2
	_, scrubbed := through(t, files, part, io.Discard)
	copied := alone(t, part)
	speed := func(took time.Duration) float64 { return part / (1 << 20) / took.Seconds() }
	fmt.Printf(
		"%d secrets planted in %d MiB: %d got through; %.0f MiB/s, and cat %.0f MiB/s\n",
		planted,
		s.bytes>>20,
		s.found,
		speed(scrubbed),
		speed(copied),
	)
}

// floodSize has this very test be the command that writes so many bytes.
const floodSize = "VALETKEY_TEST_FLOOD"

// through runs this very test as the command, behind valetkey-exec.
func through(t *testing.T, files map[string]string, size int, to io.Writer) (code int, took time.Duration) {
	t.Helper()
	cmd := Granted(files).Command(t, "as-exec", "--", os.Args[0], "-test.run=^TestAGigabyteOfOutput$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", floodSize, size))
	cmd.Stdout, cmd.Stderr = to, os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), time.Since(start)
}

// alone sends the same through cat.
func alone(t *testing.T, size int) time.Duration {
	t.Helper()
	start := time.Now()
	writer := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestAGigabyteOfOutput$")
	writer.Env = append(os.Environ(), fmt.Sprintf("%s=%d", floodSize, size))
	cat := exec.CommandContext(t.Context(), "cat")
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cat.Stdin = out
	counted, err := cat.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []*exec.Cmd{writer, cat} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		t.Fatal(err)
	}
	_, _ = writer.Wait(), cat.Wait() // the writer ends with a code of its own
	return time.Since(start)
}
