// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// decision is one of the two that a person can make on a request.
type decision struct {
	kind v1alpha1.DecisionKind
	// verb is what somebody does, doing what they are about, and done what then has happened.
	verb, doing, done string
	annotation        string
	short             string
	reason            string
	unasked           bool
}

func (s *shell) approve() *cobra.Command {
	return s.decide(&decision{kind: v1alpha1.DecisionApprove, verb: "approve", doing: "approving", done: "approved", annotation: v1alpha1.AnnotationApprove,
		short: "Approve exactly what is shown, after asking"})
}

func (s *shell) deny() *cobra.Command {
	return s.decide(&decision{kind: v1alpha1.DecisionDeny, verb: "deny", doing: "denying", done: "denied", annotation: v1alpha1.AnnotationDeny,
		short: "Deny what is shown, after asking; that ends its grant, if there is one"})
}

func (s *shell) decide(d *decision) *cobra.Command {
	cmd := &cobra.Command{Use: d.verb + " NAME", Short: d.short, Args: cobra.ExactArgs(1), ValidArgsFunction: s.completeRequest(undecided),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.connect()
			if err != nil {
				return err
			}
			r, err := c.request(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := errors.Join(d.possible(r), d.fits()); err != nil {
				return err
			}
			if err := c.owns(cmd.Context(), r); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(s.Out, "%s\n", s.page(cmd.Context(), c, r)); err != nil {
				return err
			}
			if !d.unasked {
				if err := s.confirm(cmd.Context(), d.question(r)); err != nil {
					return err
				}
			}
			return s.send(cmd.Context(), c, r, d)
		}}
	cmd.Flags().StringVar(&d.reason, "reason", "", "your reason, which is stored with the decision")
	cmd.Flags().BoolVar(&d.unasked, "yes", false, "do not ask; what is decided on is printed all the same")
	return cmd
}

// possible says why nothing can be decided, where no server has to be asked.
func (d *decision) possible(r *v1alpha1.CapabilityRequest) error {
	name := fmt.Sprintf("request %s in namespace %s", r.Name, r.Namespace)
	switch {
	case r.Status.EndedAt != nil:
		return fmt.Errorf("%s %s; nothing can be %s any more; create another request", name, endedWords(r), d.done)
	case r.Status.Review == nil:
		return fmt.Errorf("%s has no review yet, so there is nothing to %s; the operator says: %s", name, d.verb, operatorSays(r))
	}
	return nil
}

// endedWords says when a request ended, and why.
func endedWords(r *v1alpha1.CapabilityRequest) string {
	words := "has ended at "
	if reasonOf(r.Status.Conditions, v1alpha1.ConditionEnded) == v1alpha1.ReasonRefused {
		words = "was refused at "
	}
	return fmt.Sprintf("%s%s (%s)", words, r.Status.EndedAt.UTC().Format(time.RFC3339), said(r.Status.Conditions, v1alpha1.ConditionEnded))
}

// maxReason is how many characters of a reason are kept, and oneLine what they can be.
const maxReason = 1024

var oneLine = regexp.MustCompile(`^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Zs}]*$`)

// fits says why the reason cannot be stored.
func (d *decision) fits() error {
	switch length := utf8.RuneCountInString(d.reason); {
	case length > maxReason:
		return fmt.Errorf("--reason has %d characters; at most %d are kept: nothing was sent", length, maxReason)
	case !oneLine.MatchString(d.reason):
		return errors.New("--reason is one line of text: no line breaks, tabs, control or formatting characters; nothing was sent")
	}
	return nil
}

// owns says that nobody decides on their own request, if the API server tells who the caller is; else its rules say so.
func (c *cluster) owns(ctx context.Context, r *v1alpha1.CapabilityRequest) error {
	if who, err := whoami(ctx, c); err == nil && who.Username != "" && who.Username == r.Spec.Requester.Username {
		return &advised{fmt.Errorf("request %s in namespace %s is your own: nobody decides on their own request", r.Name, r.Namespace),
			"ask somebody else; the operator says: " + operatorSays(r)}
	}
	return nil
}

func (d *decision) question(r *v1alpha1.CapabilityRequest) string {
	switch open := len(r.Status.Review.NotCovered); {
	case d.kind == v1alpha1.DecisionDeny && r.Status.GrantName != "":
		return "It is granted. Deny it, which ends its grant at once?"
	case d.kind == v1alpha1.DecisionDeny:
		return "Deny it, which is final?"
	case open > 0:
		return fmt.Sprintf("Approve exactly this, though %s can change afterwards?", count(open, "thing"))
	}
	return "Approve exactly this?"
}

// confirm asks a person. It returns nil if they say yes.
func (s *shell) confirm(ctx context.Context, question string) error {
	in, ok := s.In.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return errors.New("nobody can be asked, for standard input is no terminal: nothing was sent; --yes goes on without asking")
	}
	if _, err := fmt.Fprintf(s.ErrOut, "%s [y/N] ", question); err != nil {
		return err
	}
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n') // what cannot be read is no yes
		answers <- line
	}()
	select {
	case <-ctx.Done():
		return errors.New("interrupted: nothing was sent")
	case answer := <-answers:
		if slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer))) {
			return nil
		}
		return errors.New("not confirmed: nothing was sent")
	}
}

// send sends the digest that was shown. Whether it still is the review's, the server decides.
func (s *shell) send(ctx context.Context, c *cluster, r *v1alpha1.CapabilityRequest, d *decision) error {
	digest, before := r.Status.Review.Digest, r.Decisions
	annotations := map[string]string{d.annotation: digest}
	if d.reason != "" {
		annotations[v1alpha1.AnnotationReason] = d.reason
	}
	if err := c.annotate(ctx, r, map[string]any{"annotations": annotations}); err != nil {
		err = &about{err, r.Spec.Requester.Username}
		return fmt.Errorf("%s request %s in namespace %s: %w", d.doing, r.Name, r.Namespace, err)
	}
	words := "recorded already"
	for _, is := range r.Decisions {
		known := slices.ContainsFunc(before, func(was v1alpha1.Decision) bool { return equality.Semantic.DeepEqual(was, is) })
		if !known && is.Digest == digest && is.Decision == d.kind {
			words = fmt.Sprintf("recorded: %s by %s", is.Decision, visible.Name(is.By))
		}
	}
	_, err := visible.Fprintf(s.Out, "%s%s, for request %s in namespace %s, digest %s\n"+
		"next: kubectl valetkey describe %s -n %s says what the operator makes of it\n",
		words, d.counted(r, digest), r.Name, r.Namespace, digest, r.Name, r.Namespace)
	return err
}

// counted says which of how many approvals it is, where several are asked for.
func (d *decision) counted(r *v1alpha1.CapabilityRequest, digest string) string {
	asked := r.Status.Approvals
	if d.kind != v1alpha1.DecisionApprove || asked == nil || asked.Required < 2 {
		return ""
	}
	given := 0
	for _, is := range r.Decisions {
		if is.Decision == v1alpha1.DecisionApprove && is.Digest == digest {
			given++
		}
	}
	return fmt.Sprintf(", approval %d of %d", given, asked.Required)
}

// annotate merges metadata into an object, which then is what the server made of it.
func (c *cluster) annotate(ctx context.Context, object client.Object, metadata map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	return c.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch))
}
