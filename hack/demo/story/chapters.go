// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
)

// first is the article's task.
const first = "publish-pr-184"

func publish(ctx context.Context, t *teller) error {
	if err := t.ask(ctx, stage.Ask{Name: first, Environment: "preview", TTLSeconds: 900, Args: []string{"publish", "previews/web-app/pr-184/index.html"}}); err != nil {
		return err
	}
	r, err := t.stage.AwaitRequest(ctx, first, v1alpha1.ReasonAwaitingApproval)
	if err != nil {
		return err
	}
	t.line("policy.check", "capability="+r.Spec.Capability, "repo="+r.Spec.Repo, "env="+r.Spec.Environment, "approval=required", "requester="+r.Spec.Requester.Username)
	job, err := t.kubectl(ctx, stage.Agent, "get", "job", v1alpha1.NamePrefix+first, "-o", "jsonpath=suspended={.spec.suspend} pods={.status.active}")
	if err != nil {
		return err
	}
	t.line("job.held", job)
	for _, scope := range r.Status.Review.Scope {
		t.line("review", "scope="+strings.ReplaceAll(scope, " ", "_"), "as="+r.Status.Review.Capability.Principal, "image="+r.Status.Review.Job.Image)
	}
	command, err := t.printedCommand(r)
	if err != nil {
		return err
	}
	t.says("alice", "kubectl "+strings.Join(command, " "))
	if _, err := t.stage.Kubectl(ctx, stage.Alice, command...); err != nil {
		return err
	}
	g, err := t.follow(ctx, first)
	if err != nil {
		return err
	}
	if g.Status.Outcome != v1alpha1.OutcomeCompleted {
		return fmt.Errorf("the grant ended %s: %+v", g.Status.Outcome, g.Status.Stop)
	}
	if err := t.output(ctx, first); err != nil {
		return err
	}
	return t.aftermath(ctx, g)
}

// printedCommand is the kubectl line that the request's own condition prints.
func (t *teller) printedCommand(r *v1alpha1.CapabilityRequest) ([]string, error) {
	message := stage.Message(r.Status.Conditions, v1alpha1.ConditionAllowed)
	_, command, ok := strings.Cut(message, "kubectl ")
	if !ok {
		return nil, fmt.Errorf("the request prints no command: %q", message)
	}
	return strings.Fields(command), nil
}

// follow prints a grant's way from its approval to its end.
func (t *teller) follow(ctx context.Context, name string) (*v1alpha1.CapabilityGrant, error) {
	if err := t.delivered(ctx, name); err != nil {
		return nil, err
	}
	g, err := t.stage.AwaitGrant(ctx, name, v1alpha1.ConditionEnded)
	if err != nil {
		return nil, err
	}
	t.revoked(g)
	return g, nil
}

func (t *teller) delivered(ctx context.Context, name string) error {
	g, err := t.stage.AwaitGrant(ctx, name, v1alpha1.ConditionDelivered)
	if err != nil {
		return err
	}
	t.line("policy.result", "approved=true", "policy="+g.Spec.Approval.Policy, "by="+approvers(g), fmt.Sprintf("ttl_seconds=%d", g.Spec.TTLSeconds))
	t.line("broker.issue", "provider="+g.Spec.Provider.Type, "scope="+strings.Join(g.Spec.Scope, ","), "session="+g.Status.Credential.Principal)
	t.line("runner.exec", "job="+g.Spec.Job.Name, "container="+g.Spec.Job.Container, "env_scope=container-only", "until="+g.Status.ExpiresAt.UTC().Format(time.TimeOnly))
	return nil
}

// approvers are those whose approval counted.
func approvers(g *v1alpha1.CapabilityGrant) string {
	if len(g.Spec.Approval.ApprovedBy) == 0 {
		return "nobody-had-to"
	}
	return strings.Join(g.Spec.Approval.ApprovedBy, ",")
}

func (t *teller) revoked(g *v1alpha1.CapabilityGrant) {
	facts := []string{"lease_id=" + g.Spec.LeaseID[:8], "status=" + strings.ToLower(string(g.Status.Outcome)), "mode=" + string(g.Status.Revocation.Mode)}
	if until := g.Status.Revocation.ExposedUntil; until != nil {
		facts = append(facts, "exposed_until="+until.UTC().Format(time.TimeOnly))
	}
	t.line("broker.revoke", facts...)
}

// output prints what the containers saw, and insists on it.
func (t *teller) output(ctx context.Context, name string) error {
	want := map[string][]string{
		"publish": {"put previews/web-app/pr-184/index.html ok", "get previews/web-app/pr-184/index.html AccessDenied",
			"put previews/payments/web-app/pr-184/index.html AccessDenied", "put releases/web-app/pr-184/index.html AccessDenied"},
		"beside": {"sees nothing"},
	}
	for _, container := range []string{"publish", "beside"} {
		log, err := t.kubectl(ctx, stage.Agent, "logs", "job/"+v1alpha1.NamePrefix+name, "-c", container)
		if err != nil {
			return err
		}
		for _, line := range strings.Split(log, "\n") {
			t.line("container "+container, line)
		}
		if log != strings.Join(want[container], "\n") {
			return fmt.Errorf("container %s said something else than %q", container, want[container])
		}
	}
	return nil
}

// aftermath shows that nothing remains, and that the audit log is whole.
func (t *teller) aftermath(ctx context.Context, g *v1alpha1.CapabilityGrant) error {
	secrets, err := t.kubectl(ctx, stage.Admin, "get", "secrets", "-o", "name")
	if err != nil {
		return err
	}
	if secrets != "" {
		return fmt.Errorf("secrets remain: %s", secrets)
	}
	t.line("secret.gone", g.Status.SecretName)
	object, err := t.stage.Object(ctx, "previews", "web-app/pr-184/index.html")
	if err != nil {
		return err
	}
	t.line("object.there", "s3://previews/web-app/pr-184/index.html", object)
	report, err := t.stage.VerifyAudit(ctx)
	if err != nil {
		return err
	}
	lines := strings.Split(report, "\n")
	t.line("audit.verify", lines[len(lines)-1])
	return nil
}

// overstay: the kubelet ends the Pod at its own deadline; the operator, back again, tells the truth about it.
func overstay(ctx context.Context, t *teller) error {
	const name = "overstay"
	if err := t.ask(ctx, stage.Ask{Name: name, Environment: "rehearsal", TTLSeconds: 15, Args: []string{"hold"}}); err != nil {
		return err
	}
	if err := t.delivered(ctx, name); err != nil {
		return err
	}
	if err := t.stage.AwaitRunning(ctx, name); err != nil {
		return err
	}
	t.says("admin", "kubectl -n valetkey-system scale statefulset/valetkey --replicas=0")
	if err := t.stage.StopOperator(ctx); err != nil {
		return err
	}
	reason, err := t.stage.AwaitPodEnded(ctx, name)
	if err != nil {
		return err
	}
	t.line("pod.ended", reason, "by=kubelet", "operator=down")
	t.says("admin", "kubectl -n valetkey-system scale statefulset/valetkey --replicas=2")
	if err := t.stage.StartOperator(ctx); err != nil {
		return err
	}
	g, err := t.stage.AwaitGrant(ctx, name, v1alpha1.ConditionEnded)
	if err != nil {
		return err
	}
	t.revoked(g)
	if g.Status.Outcome != v1alpha1.OutcomeExpired {
		return fmt.Errorf("the grant ended %s, want Expired", g.Status.Outcome)
	}
	return nil
}

// refused shows what must not work, while a request waits for approval and while a credential is out.
func refused(ctx context.Context, t *teller) error {
	const waiting, running = "refused", "running"
	if err := t.ask(ctx, stage.Ask{Name: waiting, Environment: "preview", TTLSeconds: 900, Args: []string{"look"}}); err != nil {
		return err
	}
	r, err := t.stage.AwaitRequest(ctx, waiting, v1alpha1.ReasonAwaitingApproval)
	if err != nil {
		return err
	}
	if err := t.ask(ctx, stage.Ask{Name: running, Environment: "rehearsal", TTLSeconds: 600, Args: []string{"hold"}}); err != nil {
		return err
	}
	g, err := t.stage.AwaitGrant(ctx, running, v1alpha1.ConditionDelivered)
	if err != nil {
		return err
	}
	if err := t.stage.AwaitRunning(ctx, running); err != nil {
		return err
	}
	return t.refusals(ctx, r, g)
}

func (t *teller) refusals(ctx context.Context, r *v1alpha1.CapabilityRequest, g *v1alpha1.CapabilityGrant) error {
	approve := func(digest string) []string {
		return []string{"annotate", "capreq", r.Name, v1alpha1.AnnotationApprove + "=" + digest}
	}
	pod, err := t.kubectl(ctx, stage.Admin, "get", "pods", "-l", v1alpha1.LabelRequest+"="+g.Name, "-o", "jsonpath={.items[0].metadata.name}")
	if err != nil {
		return err
	}
	thief := fmt.Sprintf(`{"spec":{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},"containers":[{"name":"thief","image":%q,`+
		`"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}},"envFrom":[{"secretRef":{"name":%q}}]}]}}`, t.stage.Workload, g.Status.SecretName)
	for _, row := range []struct {
		title string
		who   stage.Person
		words string
		args  []string
	}{
		{"the agent approves its own request", stage.Agent, "cannot patch", approve(r.Status.Review.Digest)},
		{"even with the right to, nobody decides on their own request", stage.AgentWhoMayApprove, "own request", approve(r.Status.Review.Digest)},
		{"alice approves something else than what was reviewed", stage.Alice, "digest", approve(strings.Repeat("0", 64))},
		{"a Pod that names the grant's Secret", stage.Admin, "valetkey-", []string{"run", "thief", "--image=" + t.stage.Workload, "--overrides=" + thief}},
		{"exec into the Pod, by the administrator", stage.Admin, "enter", []string{"exec", pod, "-c", "publish", "--", "/publish-preview", "look"}},
	} {
		if err := t.refusal(ctx, row.title, row.who, row.words, row.args...); err != nil {
			return err
		}
	}
	return t.revokeByHand(ctx, g)
}

// revokeByHand ends the grant that the refusals were shown on, as a person does.
func (t *teller) revokeByHand(ctx context.Context, g *v1alpha1.CapabilityGrant) error {
	t.says("alice", fmt.Sprintf("kubectl annotate capgrant %s %s='seen enough'", g.Name, v1alpha1.AnnotationRevoke))
	if _, err := t.kubectl(ctx, stage.Alice, "annotate", "capgrant", g.Name, v1alpha1.AnnotationRevoke+"=seen enough"); err != nil {
		return err
	}
	ended, err := t.stage.AwaitGrant(ctx, g.Name, v1alpha1.ConditionEnded)
	if err != nil {
		return err
	}
	t.revoked(ended)
	if ended.Status.Outcome != v1alpha1.OutcomeRevoked {
		return fmt.Errorf("the grant ended %s, want Revoked", ended.Status.Outcome)
	}
	return nil
}

func killSwitch(ctx context.Context, t *teller) error {
	const name = "killed"
	if err := t.ask(ctx, stage.Ask{Name: name, Environment: "rehearsal", TTLSeconds: 600, Args: []string{"hold"}}); err != nil {
		return err
	}
	if err := t.delivered(ctx, name); err != nil {
		return err
	}
	if err := t.stage.AwaitRunning(ctx, name); err != nil {
		return err
	}
	t.says("admin", "kubectl apply -f config/samples/deny.yaml")
	start := time.Now()
	if _, err := t.stage.Kubectl(ctx, stage.Admin, "apply", "-f", t.stage.Path("config/samples/deny.yaml")); err != nil {
		return err
	}
	g, err := t.stage.AwaitGrant(ctx, name, v1alpha1.ConditionEnded)
	if err != nil {
		return err
	}
	t.revoked(g)
	t.line("ended.after", time.Since(start).Round(100*time.Millisecond).String(), g.Status.Stop.Message)
	if g.Status.Stop.Reason != v1alpha1.ReasonPolicyWithdrawn {
		return fmt.Errorf("the grant was stopped by %s, want %s", g.Status.Stop.Reason, v1alpha1.ReasonPolicyWithdrawn)
	}
	return nil
}

// ledger prints what was granted, and insists that the story is all there.
func ledger(ctx context.Context, t *teller) error {
	grants, err := t.stage.Grants(ctx)
	if err != nil {
		return err
	}
	want := map[string]v1alpha1.GrantOutcome{first: v1alpha1.OutcomeCompleted, "overstay": v1alpha1.OutcomeExpired,
		"running": v1alpha1.OutcomeRevoked, "killed": v1alpha1.OutcomeRevoked}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "GRANT\tCAPABILITY\tREQUESTER\tAPPROVED BY\tTTL\tLIVED\tOUTCOME\tREASON\tREVOCATION")
	for i := range grants {
		g := &grants[i]
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%ds\t%s\t%s\t%s\t%s\n", g.Name, g.Spec.Capability, g.Spec.Requester, approvers(g),
			g.Spec.TTLSeconds, g.Status.EndedAt.Sub(g.Status.IssuedAt.Time), g.Status.Outcome, g.Status.Stop.Reason, g.Status.Revocation.Mode)
		if want[g.Name] != g.Status.Outcome {
			return fmt.Errorf("grant %s ended %s, want %s", g.Name, g.Status.Outcome, want[g.Name])
		}
		delete(want, g.Name)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(want) > 0 {
		return fmt.Errorf("grants are missing: %v", want)
	}
	found, err := t.stage.Canary(ctx)
	if err != nil {
		return err
	}
	t.line("canary", found)
	return nil
}
