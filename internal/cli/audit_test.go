// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
)

// logged writes records with a real log, a minute between them, and returns its folder and the records' anchors.
func logged(t *testing.T, records ...audit.Record) (folder string, anchors []v1alpha1.AuditAnchor) {
	t.Helper()
	folder = t.TempDir()
	clock := clocktesting.NewFakeClock(noon().Add(-time.Hour))
	l, err := audit.Open(audit.Options{Path: filepath.Join(folder, "audit.log"), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		clock.Step(time.Minute)
		anchor, err := l.Append(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		anchors = append(anchors, anchor)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return folder, anchors
}

// life is a grant's, as the operator records it, after a refusal of another request.
func life() []audit.Record {
	of := func(event audit.Event, edits ...func(*audit.Record)) audit.Record {
		r := audit.Record{TaskID: "pr-184", Actor: "openclaw-agent", Repo: "web-app", Environment: "preview", Capability: "publish-preview-build",
			LeaseID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Provider: "aws-sts", Scope: []string{"s3:PutObject", "cloudfront:CreateInvalidation"}, TTLSeconds: 900,
			Approval: audit.ApprovalGranted, Event: event, Requester: agent, Namespace: "agents", Request: "publish-pr-184", Grant: "publish-pr-184",
			Job: "valetkey-publish-pr-184", Policy: "preview-builds", ApprovedBy: []string{"alice@example.com"}, Session: "agent-9f8c6b6a-1", Attempt: 1}
		for _, edit := range edits {
			edit(&r)
		}
		return r
	}
	ended := func(r *audit.Record) {
		r.Outcome, r.Revocation, r.ExposedUntil, r.Reason = "expired_without_reuse", "AtExpiry", "2026-11-25T11:20:00Z", "Expired"
	}
	return []audit.Record{
		{Event: audit.EventDenied, Approval: audit.ApprovalDenied, Outcome: audit.OutcomeDenied, Capability: "read-ci", Repo: "payments", Environment: "preview", TaskID: "pr-1",
			Actor: "other agent=x", Requester: "bob", Namespace: "others", Request: "read-1", Policy: "freeze", Reason: "DeniedByPolicy", Message: "nothing is published today"},
		of(audit.EventIssuing),
		of(audit.EventIssueFailed, func(r *audit.Record) { r.Reason = "the back end is throttling" }),
		of(audit.EventIssuing, func(r *audit.Record) { r.Attempt, r.Session = 2, "agent-9f8c6b6a-2" }),
		of(audit.EventIssued, func(r *audit.Record) { r.CredentialID = "ASIAEXAMPLE" }),
		of(audit.EventDelivering),
		of(audit.EventStopping, func(r *audit.Record) { r.Reason, r.Message = "RevokedByAnnotation", "revoked by root: it is late" }),
		of(audit.EventAbandoned, func(r *audit.Record) { r.Reason = "abandoned by root: it never answers" }),
		of(audit.EventRevoked, func(r *audit.Record) { r.Revocation, r.ExposedUntil = "AtExpiry", "2026-11-25T11:20:00Z" }),
		of(audit.EventEnded, ended),
		{Event: audit.EventRecovered, Reason: "12 bytes were removed"},
	}
}

func TestAuditReadsAsTheTerminalViewOfTheArticle(t *testing.T) {
	folder, _ := logged(t, life()...)
	at(t).anywhere("audit", folder).exits(0).prints(`
2026-11-25T11:01:00Z  policy.check    request=others/read-1  capability=read-ci  repo=payments  env=preview  requester=bob  says.task_id=pr-1  says.actor="other agent=x"
2026-11-25T11:01:00Z  policy.result   request=others/read-1  approved=false  reason=DeniedByPolicy  policy=freeze  message="nothing is published today"
2026-11-25T11:02:00Z  policy.check    request=agents/publish-pr-184  capability=publish-preview-build  repo=web-app  env=preview  approval=required  requester=system:serviceaccount:agents:web-app-bot  says.task_id=pr-184  says.actor=openclaw-agent
2026-11-25T11:02:00Z  policy.result   request=agents/publish-pr-184  approved=true  ttl_seconds=900  policy=preview-builds  by=alice@example.com
2026-11-25T11:02:00Z  broker.ask      request=agents/publish-pr-184  lease_id=9f8c6b6a  attempt=1  session=agent-9f8c6b6a-1
2026-11-25T11:03:00Z  broker.fail     request=agents/publish-pr-184  lease_id=9f8c6b6a  attempt=1  reason="the back end is throttling"
2026-11-25T11:04:00Z  broker.ask      request=agents/publish-pr-184  lease_id=9f8c6b6a  attempt=2  session=agent-9f8c6b6a-2
2026-11-25T11:05:00Z  broker.issue    request=agents/publish-pr-184  provider=aws-sts  scope=s3:PutObject,cloudfront:CreateInvalidation  lease_id=9f8c6b6a  credential_id=ASIAEXAMPLE
2026-11-25T11:06:00Z  runner.exec     request=agents/publish-pr-184  job=valetkey-publish-pr-184  env_scope=container-only
2026-11-25T11:07:00Z  broker.stop     request=agents/publish-pr-184  lease_id=9f8c6b6a  reason=RevokedByAnnotation  message="revoked by root: it is late"
2026-11-25T11:08:00Z  broker.abandon  request=agents/publish-pr-184  lease_id=9f8c6b6a  reason="abandoned by root: it never answers"
2026-11-25T11:09:00Z  broker.answer   request=agents/publish-pr-184  lease_id=9f8c6b6a  mode=AtExpiry  exposed_until=2026-11-25T11:20:00Z
2026-11-25T11:10:00Z  broker.revoke   request=agents/publish-pr-184  lease_id=9f8c6b6a  status=expired_without_reuse  mode=AtExpiry  exposed_until=2026-11-25T11:20:00Z  reason=Expired
2026-11-25T11:11:00Z  log.recovered   reason="12 bytes were removed"
`)
}

func TestAnApprovalThatNobodyHadToGiveIsSaidSo(t *testing.T) {
	r := life()[1]
	r.Approval, r.ApprovedBy = audit.ApprovalNotRequired, nil
	folder, _ := logged(t, r)
	at(t).anywhere("audit", folder).exits(0).says("approval=not_required", "approved=true  ttl_seconds=900  policy=preview-builds\n")
}

func TestAuditShowsWhatFitsEveryFlag(t *testing.T) {
	folder, _ := logged(t, life()...)
	for flags, want := range map[string]int{
		"": 11, "--request read-1": 1, "--request publish-pr-184": 9, "--repo web-app": 9, "--repo ACME/Web-App": 9, "--actor openclaw-agent": 9, "--capability read-ci": 1,
		"--repo payments --capability publish-preview-build": 0, "--request publish-pr-184 -n others": 0, "-n others": 1,
		"--since 50m": 2, "--since 2026-11-25T11:10:00Z": 2, "--since 2026-11-25T12:10:00+01:00": 2, "--since 2026-11-25T11:10:00Z --repo web-app": 1,
	} {
		said := at(t).anywhere(append([]string{"audit", folder, "-o", "json"}, strings.Fields(flags)...)...).exits(0)
		if got := strings.Count(said.stdout, "\n"); got != want {
			t.Errorf("%q shows %d records; want %d", flags, got, want)
		}
	}
	at(t).anywhere("audit", folder, "--since", "yesterday").exits(1).complains(`--since is a duration as 1h, or an instant as 2026-11-01T09:00:00Z, and not "yesterday"`)
}

// TestAuditForProgramsIsTheLogItself, so that a line's hash can still be computed.
func TestAuditForProgramsIsTheLogItself(t *testing.T) {
	folder, _ := logged(t, life()...)
	text, err := os.ReadFile(filepath.Join(folder, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	at(t).anywhere("audit", filepath.Join(folder, "audit.log"), "-o", "json").exits(0).prints(string(text))
}

func TestAuditReadsWhatIsPipedAndLeavesOutWhatIsNoRecord(t *testing.T) {
	folder, _ := logged(t, life()...)
	text, err := os.ReadFile(filepath.Join(folder, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	d := at(t)
	long := strings.Repeat("x", 3<<20)
	d.in = strings.NewReader(`{"level":"info","msg":"starting"}` + "\n" + long + "\n" + strings.TrimSuffix(string(text), "\n"))
	said := d.anywhere("audit", "-", "--request", "read-1").exits(0).says("policy.result   request=others/read-1  approved=false").complains("left out: ", ", which no audit records are\n")
	if strings.Count(said.stdout, "\n") != 2 {
		t.Errorf("it says\n%s", said.stdout)
	}
	at(t).anywhere("audit", filepath.Join(folder, "nothing.log")).exits(1).complains("error: ", "nothing.log: no such file or directory")
}

// TestAuditReadsRotatedFilesInTheirOrder, the oldest first, whatever order they are named in.
func TestAuditReadsRotatedFilesInTheirOrder(t *testing.T) {
	folder, _ := logged(t, life()[:2]...)
	text, err := os.ReadFile(filepath.Join(folder, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	first, second, _ := strings.Cut(string(text), "\n")
	old, present := filepath.Join(folder, "audit-000000000001.log"), filepath.Join(folder, "audit.log")
	for path, content := range map[string]string{old: first + "\n", present: second} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{folder}, {present, old}} {
		said := at(t).anywhere(append([]string{"audit"}, args...)...).exits(0)
		if !strings.HasPrefix(said.stdout, "2026-11-25T11:01:00Z") || !strings.Contains(said.stdout, "\n2026-11-25T11:02:00Z") {
			t.Errorf("%v:\n%s", args, said.stdout)
		}
	}
}

// TestAuditReadsTheOperatorsOutputWhenNoLogIsNamed asks an API server for it as kubectl logs does.
func TestAuditReadsTheOperatorsOutputWhenNoLogIsNamed(t *testing.T) {
	folder, _ := logged(t, life()...)
	text, err := os.ReadFile(filepath.Join(folder, "audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		if strings.Contains(r.URL.Path, "young") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
				Message: `pods "young" is forbidden: User "bob" cannot get resource "pods/log" in API group "" in the namespace "valetkey-system"`})
			return
		}
		_, _ = fmt.Fprintf(w, "{\"level\":\"info\"}\n%s", text)
	}))
	t.Cleanup(server.Close)
	pod := func(name, label string, age time.Duration) client.Object {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "valetkey-system", Name: name, Labels: map[string]string{"app.kubernetes.io/name": label}, CreationTimestamp: metav1.NewTime(noon().Add(-age))}}
	}
	to := func(objects ...client.Object) *desk {
		d := at(t, objects...)
		dial := d.dial
		d.dial = func(config *rest.Config) (client.WithWatch, error) {
			config.Host = server.URL
			return dial(config)
		}
		return d
	}
	to(pod("old", "valetkey", time.Hour), pod("other", "other", time.Hour)).types("audit", "--request", "publish-pr-184").exits(0).says("broker.issue").
		complains("from the output of Pod old in namespace valetkey-system, which may not be the whole log", "left out: 1 line, which no audit records are")
	if want := []string{"/api/v1/namespaces/valetkey-system/pods/old/log?container=manager"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q; want %q", asked, want)
	}
	to(pod("young", "valetkey", time.Minute)).types("audit").exits(1).complains(`User "bob" cannot get resource "pods/log"`, "next: ask whoever administers the cluster for the right to get pods/log",
		"next: have somebody who may give you the log, and name its files")
	to().types("audit").exits(1).complains("no Pod in namespace valetkey-system is labelled app.kubernetes.io/name=valetkey: name the log's files, or - for standard input")
}

func TestVerifyIsTheOperatorsOwn(t *testing.T) {
	folder, anchors := logged(t, life()...)
	holding := aGrant("publish-pr-184", func(g *v1alpha1.CapabilityGrant) { g.Status.Audit = &anchors[9] })
	at(t).anywhere("audit", "verify", folder).exits(0).says("ok, as far as the files themselves can tell")
	at(t, holding).types("audit", "verify", "--from-cluster", folder).exits(0).says("ok: the last record of each of 1 grants is there as it was written")

	list, err := json.Marshal(map[string]any{"kind": "List", "items": []any{map[string]any{"kind": "CapabilityGrant", "metadata": holding.ObjectMeta, "status": holding.Status}}})
	if err != nil {
		t.Fatal(err)
	}
	d := at(t)
	d.in = strings.NewReader(string(list))
	d.anywhere("audit", "verify", "--grants", "-", folder).exits(0).says("ok: the last record of each of 1 grants")

	path := filepath.Join(folder, "audit.log")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	if err := os.WriteFile(path, []byte(strings.Join(lines[:9], "")), 0o600); err != nil {
		t.Fatal(err)
	}
	at(t).anywhere("audit", "verify", folder).exits(0)
	at(t, holding).types("audit", "verify", "--from-cluster", folder).exits(1).says("BROKEN grant agents/publish-pr-184: its record 10 is missing")
	at(t).anywhere("audit", "verify", filepath.Join(folder, "nothing")).exits(2)
	nothing := interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
		return forbidden("no grants")
	}}
	intercepted(t, nothing).types("audit", "verify", "--from-cluster", folder).exits(2).complains("error: listing the grants of all namespaces: ")
	at(t).anywhere("audit", "verify", "--from-cluster", "--grants", "x", folder).exits(1).complains("[from-cluster grants]")
	at(t).anywhere("audit", "verify").exits(1).complains("requires at least 1 arg")
}

// TestAuditEndsWhenNobodyReadsOn: a pipe that was closed is an error, not a crash.
func TestAuditEndsWhenNobodyReadsOn(t *testing.T) {
	folder, _ := logged(t, life()...)
	if _, err := audit.Read([]string{folder}, func([]byte, audit.Record) error { return io.ErrClosedPipe }); err == nil || !strings.Contains(err.Error(), "closed pipe") {
		t.Errorf("got %v", err)
	}
}
