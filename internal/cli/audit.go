// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/names"
	"github.com/valetkey/valetkey/internal/visible"
)

// Where config/manager has the operator.
const (
	operatorNamespace = "valetkey-system"
	operatorLabel     = "app.kubernetes.io/name"
	operatorName      = "valetkey"
	operatorContainer = "manager"
)

func (s *shell) audit() *cobra.Command {
	var o output
	t := &trail{}
	cmd := &cobra.Command{Use: "audit [LOG…]", Short: "Print the audit log as a trail, a line for each step",
		Long: "Print the audit log as a trail, or with -o json as it is written. LOG is a file, a folder of files that end in .log, or - for standard\n" +
			"input. Without one, the output of the operator's Pod is read, where every record is printed, too: it begins with its container.\n" +
			"All flags that are given must fit. What stands behind says. is the agent's own word. Nothing is verified: audit verify does that.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.begin(s); err != nil {
				return err
			}
			return s.trail(cmd.Context(), args, func(line []byte, r audit.Record) error {
				if !t.fits(r) {
					return nil
				}
				if o == "json" {
					_, err := fmt.Fprintf(s.Out, "%s\n", line)
					return err
				}
				_, err := fmt.Fprint(s.Out, steps(r))
				return err
			})
		}}
	flags := cmd.Flags()
	flags.StringVar(&t.request, "request", "", "only of the request of this name (of one namespace, with -n)")
	flags.StringVar(&t.repo, "repo", "", "only for this repository, in any spelling: with or without owner, in any case")
	flags.StringVar(&t.actor, "actor", "", "only where the agent calls itself so; nobody has checked that")
	flags.StringVar(&t.capability, "capability", "", "only of this capability")
	flags.StringVar(&t.since, "since", "", "only from then on: a duration as 1h, or an instant as 2026-11-01T09:00:00Z")
	o.addOf(cmd, "a trail if not set", "json")
	cmd.AddCommand(s.verifyAudit())
	return cmd
}

// trail is which records are wanted.
type trail struct {
	request, namespace, repo, actor, capability string
	since                                       string
	from                                        time.Time
}

func (t *trail) begin(s *shell) error {
	t.namespace = *s.flags.Namespace
	if t.since == "" {
		return nil
	}
	if ago, err := time.ParseDuration(t.since); err == nil {
		t.from = s.clock.Now().Add(-ago)
		return nil
	}
	var err error
	if t.from, err = time.Parse(time.RFC3339, t.since); err != nil {
		return fmt.Errorf("--since is a duration as 1h, or an instant as 2026-11-01T09:00:00Z, and not %q", t.since)
	}
	return nil
}

// fits: a record whose time cannot be read is not left out.
func (t *trail) fits(r audit.Record) bool {
	wants := func(want, is string) bool { return want == "" || want == is }
	at, err := time.Parse(time.RFC3339, r.Timestamp)
	return wants(t.request, r.Request) && wants(t.namespace, r.Namespace) && wants(t.actor, r.Actor) &&
		(t.repo == "" || names.Alike(t.repo, r.Repo)) && wants(t.capability, r.Capability) && (err != nil || !at.Before(t.from))
}

// trail gives each record of what is named, and says how many lines were none.
func (s *shell) trail(ctx context.Context, logs []string, each func([]byte, audit.Record) error) error {
	named := slices.DeleteFunc(slices.Clone(logs), func(name string) bool { return name == "-" })
	others, err := audit.Read(named, each)
	if err == nil && len(named) < len(logs) {
		var more int
		more, err = audit.ReadFrom(s.In, each)
		others += more
	}
	if err == nil && len(logs) == 0 {
		others, err = s.operatorsTrail(ctx, each)
	}
	if err == nil && others > 0 {
		_, err = fmt.Fprintf(s.ErrOut, "left out: %s, which no audit records are\n", count(others, "line"))
	}
	return err
}

// operatorsTrail reads what kubectl logs would print.
func (s *shell) operatorsTrail(ctx context.Context, each func([]byte, audit.Record) error) (others int, err error) {
	c, err := s.connect()
	if err != nil {
		return 0, err
	}
	const next = "have somebody who may give you the log, and name its files"
	pods := &corev1.PodList{}
	if err := c.List(ctx, pods, client.InNamespace(operatorNamespace), client.MatchingLabels{operatorLabel: operatorName}); err != nil {
		return 0, &advised{fmt.Errorf("looking for the operator's Pod in namespace %s: %w", operatorNamespace, err), next}
	}
	if len(pods.Items) == 0 {
		return 0, fmt.Errorf("no Pod in namespace %s is labelled %s=%s: name the log's files, or - for standard input", operatorNamespace, operatorLabel, operatorName)
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for i := range pods.Items {
		name := pods.Items[i].Name
		_, _ = fmt.Fprintf(s.ErrOut, "from the output of Pod %s in namespace %s, which may not be the whole log\n", name, operatorNamespace)
		output, err := c.output(ctx, name)
		if err != nil {
			return others, &advised{fmt.Errorf("reading the output of Pod %s in namespace %s: %w", name, operatorNamespace, err), next}
		}
		more, err := audit.ReadFrom(output, each)
		others += more
		if err := errors.Join(err, output.Close()); err != nil {
			return others, fmt.Errorf("reading the output of Pod %s in namespace %s: %w", name, operatorNamespace, err)
		}
	}
	return others, nil
}

// output is what an operator's container printed.
func (c *cluster) output(ctx context.Context, pod string) (io.ReadCloser, error) {
	config := rest.CopyConfig(c.config)
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/api", &corev1.SchemeGroupVersion, clientgoscheme.Codecs.WithoutConversion()
	core, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	return core.Get().Namespace(operatorNamespace).Resource("pods").Name(pod).SubResource("log").
		VersionedParams(&corev1.PodLogOptions{Container: operatorContainer}, clientgoscheme.ParameterCodec).Stream(ctx)
}

// steps are a record's lines of the trail, in the article's words where it has any.
func steps(r audit.Record) string {
	l := &lines{r: r}
	lease := r.LeaseID[:min(8, len(r.LeaseID))]
	switch r.Event {
	case audit.EventDenied:
		l.check("")
		l.add("policy.result", "approved", "false", "reason", r.Reason, "policy", r.Policy, "message", r.Message)
	case audit.EventIssuing:
		if r.Attempt <= 1 {
			l.check(map[string]string{audit.ApprovalGranted: "required"}[r.Approval])
			l.add("policy.result", "approved", "true", "ttl_seconds", strconv.Itoa(int(r.TTLSeconds)), "policy", r.Policy, "by", strings.Join(r.ApprovedBy, ","))
		}
		l.add("broker.ask", "lease_id", lease, "attempt", strconv.Itoa(int(r.Attempt)), "session", r.Session)
	case audit.EventIssueFailed:
		l.add("broker.fail", "lease_id", lease, "attempt", strconv.Itoa(int(r.Attempt)), "reason", r.Reason)
	case audit.EventIssued:
		l.add("broker.issue", "provider", r.Provider, "scope", strings.Join(r.Scope, ","), "lease_id", lease, "credential_id", r.CredentialID)
	case audit.EventDelivering:
		l.add("runner.exec", "job", r.Job, "env_scope", "container-only")
	case audit.EventStopping:
		l.add("broker.stop", "lease_id", lease, "reason", r.Reason, "message", r.Message)
	case audit.EventRevoked:
		l.add("broker.answer", "lease_id", lease, "mode", r.Revocation, "exposed_until", r.ExposedUntil)
	case audit.EventAbandoned:
		l.add("broker.abandon", "lease_id", lease, "reason", r.Reason)
	case audit.EventEnded:
		l.add("broker.revoke", "lease_id", lease, "status", r.Outcome, "mode", r.Revocation, "exposed_until", r.ExposedUntil, "reason", r.Reason)
	case audit.EventRecovered:
		l.add("log.recovered", "reason", r.Reason)
	default:
		l.add(string(r.Event), "reason", r.Reason)
	}
	return l.String()
}

// lines are those of one record.
type lines struct {
	strings.Builder
	r audit.Record
}

func (l *lines) check(approval string) {
	if approval == "" && l.r.Approval != audit.ApprovalDenied {
		approval = l.r.Approval
	}
	l.add("policy.check", "capability", l.r.Capability, "repo", l.r.Repo, "env", l.r.Environment, "approval", approval,
		"requester", l.r.Requester, "says.task_id", l.r.TaskID, "says.actor", l.r.Actor)
}

// add adds a line of keys and values; those without a value are left out.
func (l *lines) add(what string, facts ...string) {
	second, _, _ := strings.Cut(l.r.Timestamp, ".")
	if second != l.r.Timestamp {
		second += "Z"
	}
	fmt.Fprintf(l, "%-20s  %-14s", visible.Line(second), visible.Line(what))
	if l.r.Request != "" {
		facts = append([]string{"request", l.r.Namespace + "/" + l.r.Request}, facts...)
	}
	for pair := range slices.Chunk(facts, 2) {
		if pair[1] != "" {
			fmt.Fprintf(l, "  %s=%s", pair[0], fact(pair[1]))
		}
	}
	l.WriteByte('\n')
}

// fact is a value that cannot be taken for several.
func fact(value string) string {
	if visible.Line(value) != value || strings.ContainsAny(value, ` ="`) {
		return visible.Line(strconv.Quote(value))
	}
	return value
}

func (s *shell) verifyAudit() *cobra.Command {
	var grants string
	var live bool
	cmd := &cobra.Command{Use: "verify LOG…", Short: "Verify that no line of the audit log was changed, moved or removed",
		Long: "Verify audit logs, as manager verify-audit does. LOG is a file, or a folder of files that end in .log; rotated files belong to the log.\n" +
			"With --grants or --from-cluster it shows, too, whether the end was cut off or all was written anew: each grant remembers its last record.\n" +
			"The exit code is 0 if nothing is wrong, 1 if something is, 2 if that could not be found out.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, logs []string) error {
			in, args := s.In, append([]string{"--"}, logs...)
			if live {
				list, err := s.allGrants(cmd.Context())
				if err != nil {
					_, _ = fmt.Fprintln(s.ErrOut, "error:", s.lead(err))
					return &exit{notFoundOut}
				}
				in, grants = bytes.NewReader(list), "-"
			}
			if grants != "" {
				args = append([]string{"--grants", grants}, args...)
			}
			if code := audit.VerifyCommand(args, in, s.Out, s.ErrOut); code != 0 {
				return &exit{code}
			}
			return nil
		}}
	cmd.Flags().StringVar(&grants, "grants", "", "output of 'kubectl get capgrant -A -o json', or - for standard input; fetch it before the log")
	cmd.Flags().BoolVar(&live, "from-cluster", false, "take the grants from the cluster")
	cmd.MarkFlagsMutuallyExclusive("grants", "from-cluster")
	return cmd
}

// allGrants are those of all namespaces, as kubectl prints them.
func (s *shell) allGrants(ctx context.Context) ([]byte, error) {
	c, err := s.connect()
	if err != nil {
		return nil, err
	}
	found := &v1alpha1.CapabilityGrantList{}
	if err := c.List(ctx, found); err != nil {
		return nil, fmt.Errorf("listing the grants of all namespaces: %w", err)
	}
	found.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("CapabilityGrantList"))
	for i := range found.Items {
		found.Items[i].SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("CapabilityGrant"))
	}
	return json.Marshal(found)
}
