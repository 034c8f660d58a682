// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/visible"
)

// program shows all that the Job sets and that can touch the step: what the table of policy.Fields calls reviewed or an input, the most
// dangerous first. The digest covers the whole Job; the review in the status repeats the step alone.
func (c *cluster) program(ctx context.Context, p *page, r *v1alpha1.CapabilityRequest) {
	reviewed := r.Status.Review.Job
	p.title("What will run with it")
	p.line("container", fmt.Sprintf("%s of Job %s, as ServiceAccount %s", reviewed.Container, reviewed.Name, reviewed.ServiceAccountName))
	job := &batchv1.Job{}
	err := c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: reviewed.Name}, job)
	switch {
	case apierrors.IsNotFound(err) || (err == nil && string(job.UID) != reviewed.UID):
		p.known(reviewed, "the Job that was reviewed is gone")
		return
	case err != nil:
		p.known(reviewed, "the Job cannot be read: "+err.Error())
		return
	}
	p.line("all of it", fmt.Sprintf("kubectl get job %s -n %s -o yaml", job.Name, job.Namespace))
	heading, lines := policy.NoDanger, policy.Reading(job, reviewed.Container)
	for _, l := range lines {
		p.widest = max(p.widest, len(l.Label())+1)
	}
	defer func() { p.widest = 0 }()
	for _, l := range lines {
		if l.Danger != heading {
			heading = l.Danger
			p.title(heading.String())
		}
		if len(l.Words) > 0 {
			p.words(l.Label(), l.Name, l.Words)
			continue
		}
		p.line(l.Label(), l.String())
	}
}

// known is what the review in the status says, where the Job itself cannot be looked at.
func (p *page) known(job v1alpha1.ReviewedJob, why string) {
	p.line("image", job.Image)
	if len(job.Command) == 0 {
		p.line("command", "the image's own")
	}
	p.words("command", "", job.Command)
	p.words("args", "", job.Args)
	for _, other := range job.OtherContainers {
		p.line("beside it", other+", which gets no credential")
	}
	p.line("the rest", "not known: "+why)
}

// words are those of a command. One with lines of its own, such as a script, is shown line by line.
func (p *page) words(label, name string, words []string) {
	if name != "" {
		name += " "
	}
	var short []string
	flush := func() {
		if len(short) > 0 {
			p.line(label, name+policy.Quoted(short))
		}
		short = nil
	}
	for _, w := range words {
		if !strings.Contains(w, "\n") {
			short = append(short, w)
			continue
		}
		flush()
		p.line(label, name+"these lines, as one word:")
		p.lines(w)
	}
	flush()
}

// deepest is how many blanks at the beginning of a script's line are shown as they are.
const deepest = 40

// lines shows a text line by line. None of them can pass for a line of the plugin's own. The blanks at the beginning of
// a line are kept, because scripts need them; those at its end are counted, and a tab is printed by its number. A text
// that ends with a line end is shown with an empty line behind it. No two texts look alike.
func (p *page) lines(text string) {
	for line := range strings.SplitSeq(text, "\n") {
		words := strings.TrimLeft(line, " ")
		depth := len(line) - len(words)
		if depth > deepest || words == "" {
			depth, words = 0, line
		}
		words = apart(words)
		shown := strings.TrimRight(words, " ")
		if behind := len(words) - len(shown); behind > 0 {
			words = visible.Line(shown) + visible.Blanks(behind)
		} else {
			words = visible.Line(words)
		}
		fmt.Fprintf(p, "  %-*s | %s%s\n", max(usualLabel, p.widest), "", strings.Repeat(" ", depth), words)
	}
}

// apart doubles the backslashes that stand before what could be a character's number, or before a character that is
// printed by its number: a tab, and the six characters \u0009, are not shown alike.
func apart(line string) string {
	var b strings.Builder
	for line != "" {
		run := len(line) - len(strings.TrimLeft(line, `\`))
		_, size := utf8.DecodeRuneInString(line[run:])
		next := line[run : run+size]
		b.WriteString(line[:run])
		if next != "" && (next == "u" || next == "x" || visible.Line(next) != next) {
			b.WriteString(line[:run])
		}
		b.WriteString(next)
		line = line[run+size:]
	}
	return b.String()
}

// How much of a ConfigMap is shown: its lines, and the bytes of one.
const (
	mostLines     = 40
	longestShown  = 2000
	longestSHA256 = 12
)

// inputs shows the ConfigMaps that the Pod reads, with what they hold now. The Pod gets what they held when they were reviewed, so that
// one which holds something else now is told loudly.
func (c *cluster) inputs(ctx context.Context, p *page, r *v1alpha1.CapabilityRequest) {
	if len(r.Status.Review.Inputs) == 0 {
		return
	}
	p.title("The ConfigMaps that it reads, of which it gets copies as they were reviewed")
	for _, in := range r.Status.Review.Inputs {
		if in.UID == "" {
			p.line("configmap", in.Name+": does not exist, and will not exist for the Pod")
			continue
		}
		found := &corev1.ConfigMap{}
		switch err := c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: in.Name}, found); {
		case err != nil:
			p.line("configmap", fmt.Sprintf("%s, SHA-256 %s…: it cannot be shown: %s", in.Name, short(in.SHA256), err.Error()))
		case string(found.UID) != in.UID || !policy.ContentMatches(in, found):
			p.line("!!!", in.Name+": it does not hold any more what was reviewed, which cannot be shown; an approval would be for something else, and ends the request")
		case c.isAuthority(found):
			p.line("configmap", in.Name+": the cluster's own certificates, as in your kubeconfig")
		default:
			p.line("configmap", fmt.Sprintf("%s, SHA-256 %s…:", in.Name, short(in.SHA256)))
			p.content(found)
		}
	}
}

// isAuthority reports whether a ConfigMap holds the certificates by which this plugin knows the API server, and nothing else, but for the
// end of the last line. By its name alone nobody can tell: whoever may write ConfigMaps may write that one.
func (c *cluster) isAuthority(found *corev1.ConfigMap) bool {
	if err := rest.LoadTLSFiles(c.config); err != nil || found.Name != policy.RootCA || len(found.Data) != 1 || len(found.BinaryData) > 0 {
		return false
	}
	own := strings.TrimSuffix(string(c.config.CAData), "\n")
	return own != "" && strings.TrimSuffix(found.Data["ca.crt"], "\n") == own
}

func short(sum string) string { return sum[:min(len(sum), longestSHA256)] }

// content shows what a ConfigMap holds, and says how much of it is not shown.
func (p *page) content(c *corev1.ConfigMap) {
	for _, key := range slices.Sorted(maps.Keys(c.Data)) {
		p.text(key, c.Data[key], printing(c, "data", key, ""))
	}
	for _, key := range slices.Sorted(maps.Keys(c.BinaryData)) {
		bytes := c.BinaryData[key]
		print := printing(c, "binaryData", key, " | base64decode")
		if utf8.Valid(bytes) {
			p.text(key, string(bytes), print)
			continue
		}
		p.line("", fmt.Sprintf("%s: %s that are not UTF-8, SHA-256 %x: %s", key, count(len(bytes), "byte"), sha256.Sum256(bytes), print))
	}
}

// text shows what stands under a key of a ConfigMap, and with which command the rest is printed.
func (p *page) text(key, text, print string) {
	p.line("", key+":")
	lines := strings.Split(text, "\n")
	for _, line := range lines[:min(len(lines), mostLines)] {
		if len(line) > longestShown {
			line = fmt.Sprintf("%s… and %d more bytes", line[:longestShown], len(line)-longestShown)
		}
		p.lines(line)
	}
	if more := len(lines) - mostLines; more > 0 {
		p.line("", fmt.Sprintf("and %s that are not shown: %s", count(more, "more line"), print))
	}
}

// printing is the command that prints what stands under a key of a ConfigMap. With cat -v nothing of it reaches the
// terminal as a control character.
func printing(c *corev1.ConfigMap, field, key, decode string) string {
	return fmt.Sprintf(`kubectl get configmap %s -n %s -o go-template='{{index .%s "%s"%s}}' | cat -v`,
		c.Name, c.Namespace, field, key, decode)
}
