// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/creack/pty"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// typist is somebody who types commands of the plugin. The plugin is a process of its own, with their rights.
type typist struct {
	*journey
	kubeconfig string
	flags      []string
}

// typist is a person with a certificate, and a kubeconfig that no other test writes.
func (j *journey) typist(name string, groups ...string) *typist {
	j.Helper()
	config, err := j.w.cluster.UserConfig(name, groups...)
	j.must(err)
	kubeconfig := filepath.Join(j.TempDir(), "kubeconfig")
	j.must(clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"test": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {ClientCertificateData: config.CertData, ClientKeyData: config.KeyData}},
		Contexts:       map[string]*clientcmdapi.Context{"test": {Cluster: "test", AuthInfo: name}},
		CurrentContext: "test",
	}, kubeconfig))
	return &typist{journey: j, kubeconfig: kubeconfig}
}

func (j *journey) aliceTypes() *typist {
	j.Helper()
	return j.typist("alice@example.com", "release-managers")
}

// agentTypes is the agent, with its token.
func (j *journey) agentTypes() *typist {
	j.Helper()
	kubeconfig, err := j.w.accountKubeconfig(j.Context(), j.namespace, "web-app-bot", filepath.Join(j.TempDir(), "agent.kubeconfig"))
	j.must(err)
	return &typist{journey: j, kubeconfig: kubeconfig}
}

// adminTypes acts as somebody else with kubectl's own flags.
func (j *journey) adminTypes(flags ...string) *typist {
	j.Helper()
	t := j.typist("admin", "system:masters")
	t.flags = flags
	return t
}

// pluginPath builds the plugin when the first test asks for it.
func (w *world) pluginPath(t *testing.T) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.plugin == "" {
		path := filepath.Join(w.dir, "kubectl-valetkey")
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./cmd/kubectl-valetkey")
		cmd.Dir = w.root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building the plugin: %v\n%s", err, out)
		}
		w.plugin = path
	}
	return w.plugin
}

func (t *typist) command(ctx context.Context, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(ctx, t.w.pluginPath(t.T), slices.Concat(args, []string{"--kubeconfig", t.kubeconfig, "-n", t.namespace}, t.flags)...)
}

// typed is a command that has ended, and what it said.
type typed struct {
	*testing.T
	code           int
	stdout, stderr string
}

// types runs a command without a terminal.
func (t *typist) types(args ...string) typed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := t.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // how it ended is in ProcessState
	if cmd.ProcessState == nil {
		t.Fatalf("%v did not run", args)
	}
	return typed{T: t.T, code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// atTerminal runs a command at a terminal, and when it asks does something and then types an answer.
func (t *typist) atTerminal(answer string, whenAsked func(), args ...string) typed {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := t.command(ctx, args...)
	var stdout bytes.Buffer
	stderr := &listener{wants: "[y/N] ", heard: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	keyboard, err := pty.Start(cmd)
	t.must(err)
	defer func() { t.must(keyboard.Close()) }()
	select {
	case <-stderr.heard:
	case <-ctx.Done():
		t.Fatalf("%v does not ask: %s%s", args, stdout.String(), stderr.String())
	}
	if whenAsked != nil {
		whenAsked()
	}
	_, err = keyboard.WriteString(answer)
	t.must(err)
	_ = cmd.Wait() // how it ended is in ProcessState
	return typed{T: t.T, code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// listener keeps what is said, and tells when it heard some words.
type listener struct {
	mu    sync.Mutex
	text  strings.Builder
	wants string
	heard chan struct{}
	once  sync.Once
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	if strings.Contains(l.text.String(), l.wants) {
		l.once.Do(func() { close(l.heard) })
	}
	return len(p), nil
}

func (l *listener) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (a typed) exits(code int) typed {
	a.Helper()
	if a.code != code {
		a.Errorf("it exited with %d; want %d\n%s%s", a.code, code, a.stdout, a.stderr)
	}
	return a
}

func (a typed) says(words ...string) typed {
	a.Helper()
	for _, w := range words {
		if !strings.Contains(a.stdout, w) {
			a.Errorf("standard output does not say %q:\n%s%s", w, a.stdout, a.stderr)
		}
	}
	return a
}

func (a typed) complains(words ...string) typed {
	a.Helper()
	for _, w := range words {
		if !strings.Contains(a.stderr, w) {
			a.Errorf("standard error does not say %q:\n%s%s", w, a.stdout, a.stderr)
		}
	}
	return a
}

// may gives a person rights in the journey's namespace.
func (j *journey) may(person string, rules ...rbacv1.PolicyRule) {
	j.Helper()
	name := j.name + "-" + strings.ReplaceAll(person, "@", "-")
	j.store(&rbacv1.Role{ObjectMeta: j.meta(name), Rules: rules})
	j.store(&rbacv1.RoleBinding{ObjectMeta: j.meta(name), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: person}}})
}

func on(resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{resource}, Verbs: verbs}
}

// awaitDeadline returns the request when it waits for approvals until an instant: before the review is stored there is none.
func (j *journey) awaitDeadline() *v1alpha1.CapabilityRequest {
	j.Helper()
	return await(j.T, j.w, j.requestObject(), "waiting until an instant", func(r *v1alpha1.CapabilityRequest) bool {
		c := condition(r.Status.Conditions, v1alpha1.ConditionAllowed)
		return c.Reason == v1alpha1.ReasonAwaitingApproval && strings.Contains(c.Message, " by 20")
	})
}

func TestAliceApprovesExactlyWhatThePluginShowsHer(t *testing.T) {
	j := begin(t, "plugin-approved")
	j.allow(byAlice)
	j.ask()
	review := j.awaitDeadline().Status.Review
	alice := j.aliceTypes()
	shown := alice.types("describe", j.name).exits(0).says("requester   system:serviceaccount:agents:web-app-bot", `why         "Publish the preview build for PR-184"`,
		"acts as     "+review.Capability.Principal+", by provider aws-preview", "scope       "+review.Scope[0], `publish (step)   image "`+review.Job.Image+`"`, `publish (step)   command "/publish-preview"`,
		`publish (step)   args "publish" "previews/web-app/pr-184/index.html"`, "operator    AwaitingApproval: policy plugin-approved waits for 1 approval by ", ", from group release-managers\n",
		"digest      "+review.Digest, "next: kubectl valetkey approve plugin-approved -n agents, or deny")
	// How long ago it was asked is another with each command.
	_, page, _ := strings.Cut(shown.stdout, "In the agent's own words")
	page, _, _ = strings.Cut(page, "\nnext: ")

	alice.atTerminal("n\n", nil, "approve", j.name).exits(1).says(page).complains("error: not confirmed: nothing was sent")
	alice.atTerminal("\x03", nil, "approve", j.name).exits(1).complains("error: interrupted: nothing was sent")
	alice.types("approve", j.name).exits(1).says(page).complains("standard input is no terminal: nothing was sent; --yes goes on without asking")
	j.expectNothingIssued()
	alice.atTerminal("y\n", nil, "approve", j.name, "--reason", "looks right").exits(0).says(page,
		"recorded: Approve by alice@example.com, for request plugin-approved in namespace agents, digest "+review.Digest)
	granted := j.awaitDelivered()
	if a := granted.Spec.Approval; !slices.Equal(a.ApprovedBy, []string{"alice@example.com"}) || a.Digest != review.Digest {
		t.Errorf("granted by %v for %s; want alice for %s", a.ApprovedBy, a.Digest, review.Digest)
	}
	alice.types("describe", j.name).exits(0).says(`decision    Approve by alice@example.com: "looks right"`, "lease "+granted.Spec.LeaseID+": Delivered", "next: kubectl valetkey revoke")
	alice.types("approve", j.name, "--yes", "--reason", "looks right").exits(0).says("recorded already")

	alice.types("revoke", j.name, "--yes", "--reason", "seen enough").exits(0).says("agents/plugin-approved: revoked by alice@example.com; the operator ends it now")
	ended := j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)
	j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "revoked by alice@example.com: seen enough")
	alice.types("revoke", j.name, "--yes").exits(1).complains("there is nothing to revoke: grant plugin-approved in namespace agents has ended, Revoked, ", "a copy of the credential works until ")
	alice.types("approve", j.name, "--yes").exits(1).complains("has ended at ", "(Revoked: revoked by alice@example.com: seen enough", "nothing can be approved any more")

	trail := alice.types("audit", j.operator.audit, "--request", j.name).exits(0).says("policy.check    request=agents/plugin-approved  capability=publish-preview-build  repo=web-app  env=plugin-approved  approval=required",
		"approved=true  ttl_seconds=900  policy=plugin-approved  by=alice@example.com", "broker.issue    request=agents/plugin-approved  provider=aws-sts  scope=s3:PutObject",
		"runner.exec     request=agents/plugin-approved  job=valetkey-plugin-approved  env_scope=container-only",
		"broker.revoke   request=agents/plugin-approved  lease_id="+ended.Spec.LeaseID[:8]+"  status=revoked  mode=AtExpiry")
	if strings.Count(trail.stdout, "broker.revoke") != 1 || strings.Contains(trail.stdout, "request=agents/plugin-denied") {
		t.Errorf("the trail is\n%s", trail.stdout)
	}
}

func TestThePluginDeniesWithAReason(t *testing.T) {
	j := begin(t, "plugin-denied")
	j.allow(byAlice)
	j.ask()
	j.awaitDeadline()
	j.aliceTypes().types("deny", j.name, "--yes", "--reason", "not before Monday").exits(0).says("recorded: Deny by alice@example.com")
	j.expectRefused(v1alpha1.ReasonDeniedByPerson, "alice@example.com denied it: not before Monday")
	j.aliceTypes().types("describe", j.name).exits(0).says("plugin-denied in namespace agents: DeniedByPerson", `decision    Deny by alice@example.com: "not before Monday"`)
	j.aliceTypes().types("deny", j.name, "--yes").exits(1).complains("(alice@example.com denied it: not before Monday); nothing can be denied any more")
}

// TestWhatThePluginMayNotDoIsRefusedInTheServersWords, and it says what would help.
func TestWhatThePluginMayNotDoIsRefusedInTheServersWords(t *testing.T) {
	j := begin(t, "plugin-refused")
	j.allow(byAlice)
	j.ask()
	j.awaitDeadline()
	j.may("carol@example.com", on("capabilityrequests", "get", "list", "patch"), on("capabilitygrants", "get", "list", "patch"))
	for _, c := range []struct {
		who  *typist
		args []string
		want []string
	}{
		{j.agentTypes(), []string{"approve", j.name, "--yes"}, []string{
			"error: request plugin-refused in namespace agents is your own: nobody decides on their own request",
			"next: ask somebody else; the operator says: AwaitingApproval: policy"}},
		{j.adminTypes("--as=system:serviceaccount:agents:runner"), []string{"requests"}, []string{
			`User "system:serviceaccount:agents:runner" cannot list resource "capabilityrequests"`, "--clusterrole=valetkey-viewer"}},
		{j.adminTypes("--as=system:serviceaccount:agents:web-app-bot", "--as-group=release-managers", "--as-group=system:authenticated"), []string{"deny", j.name, "--yes"},
			[]string{"error: request plugin-refused in namespace agents is your own: nobody decides on their own request"}},
		{j.typist("carol@example.com"), []string{"approve", j.name, "--yes"},
			[]string{"the API server's rule valetkey-decisions refuses it: carol@example.com lacks the verb approve on this request; ask somebody who has it to decide"}},
		{j.typist("nobody@example.com"), []string{"approve", j.name, "--yes"}, []string{"error: reading request plugin-refused in namespace agents: the API server refuses it: ",
			"next: have the ClusterRole valetkey-viewer bound in namespace agents: kubectl create rolebinding NAME -n agents --clusterrole=valetkey-viewer --user=nobody@example.com"}},
		{j.aliceTypes(), []string{"approve", "plugin-refuse", "--yes"}, []string{"error: there is no request plugin-refuse in namespace agents; there are plugin-refused"}},
		{j.aliceTypes(), []string{"approve", j.name, "--yes", "--reason", "a\ttab"}, []string{"error: --reason is one line of text"}},
	} {
		c.who.types(c.args...).exits(1).complains(c.want...)
	}
	if r := j.awaitDeadline(); len(r.Decisions) > 0 {
		t.Errorf("decisions were recorded: %+v", r.Decisions)
	}
	j.aliceTypes().types("approve", j.name, "--yes").exits(0)
	j.awaitDelivered()
	j.typist("carol@example.com").types("revoke", j.name, "--yes").exits(1).complains("agents/plugin-refused: not revoked: ",
		"the API server's rule valetkey-grants refuses it: carol@example.com lacks the verb revoke on this grant; ask somebody who has it", "error: 1 of 1 grant not revoked: agents/plugin-refused")
	j.agentTypes().types("revoke", j.name, "--yes").exits(1).complains("next: ask a person who may revoke; a request of your own you can withdraw: kubectl delete capreq NAME")
	// Somebody who comes too late is told that it can still be denied.
	j.adminTypes("--as=dave@example.com", "--as-group=release-managers", "--as-group=system:authenticated").types("approve", j.name, "--yes").exits(1).
		complains("the request is granted: it can still be denied, which ends its grant, but not approved")
}

// TestWhatChangedAfterItWasShownIsNotApproved: the digest that was shown is what is sent, and the server sees that it is another.
func TestWhatChangedAfterItWasShownIsNotApproved(t *testing.T) {
	j := begin(t, "plugin-stale")
	j.allow(byAlice)
	j.ask()
	shown := j.awaitDeadline()
	again := func() {
		j.must(j.agent.Delete(t.Context(), j.requestObject()))
		j.must(j.agent.Delete(t.Context(), j.sampleJob(), client.PropagationPolicy(metav1.DeletePropagationBackground)))
		awaitGone(t, j.w, j.sampleJob())
		j.request()
		j.job(func(job *batchv1.Job) { job.Spec.Template.Spec.Containers[0].Args = []string{"something", "else"} })
		await(t, j.w, j.requestObject(), "another", func(r *v1alpha1.CapabilityRequest) bool { return r.UID != shown.UID && r.Status.Review != nil })
	}
	j.aliceTypes().atTerminal("y\n", again, "approve", j.name).exits(1).says("digest      " + shown.Status.Review.Digest).
		complains("the API server's rule valetkey-decisions refuses it: this digest is not the one in status.review; look again at what you are deciding on")
	if r := j.awaitDeadline(); len(r.Decisions) > 0 {
		t.Errorf("decisions were recorded: %+v", r.Decisions)
	}
	j.expectNothingIssued()
}

// TestWhatIsNotCoveredIsShownLoudly, and text that would play with the terminal by its numbers.
func TestWhatIsNotCoveredIsShownLoudly(t *testing.T) {
	j := begin(t, "plugin-open")
	j.allow(byAlice, func(p *v1alpha1.CapabilityPolicySpec) { p.Accept = []v1alpha1.Acceptance{v1alpha1.AcceptMutableInput} })
	j.request()
	j.job(func(job *batchv1.Job) {
		pod := &job.Spec.Template.Spec
		pod.Containers[0].Args = []string{"\x1b[2J\x1b]0;owned\x07", "\u202egnp.exe", "one\x1b[2J\u202e\n\nnext: kubectl valetkey approve"}
		pod.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "plugin-open"}}}}
		pod.Containers[1].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	})
	j.awaitDeadline()
	said := j.aliceTypes().atTerminal("n\n", nil, "approve", j.name).exits(1).says("!!! NOT COVERED: 1 thing can change after the approval, without anybody being asked again\n",
		"  !!! 1       volume data is PersistentVolumeClaim plugin-open, which can change\n", `"\x1b[2J\x1b]0;owned\a" "\u202egnp.exe"`, "| next: kubectl valetkey approve").
		complains("Approve exactly this, though 1 thing can change afterwards? [y/N] ")
	for _, command := range []string{"describe", "why"} {
		said.stdout += j.aliceTypes().types(command, j.name).exits(0).stdout
	}
	if strings.ContainsAny(said.stdout+said.stderr, "\x1b\x07\u202e") || strings.Contains(said.stdout, "\nnext: kubectl valetkey approve\n") {
		t.Errorf("what the agent wrote reaches the terminal as it is:\n%q", said.stdout)
	}
}

func TestThePluginRevokesWhatFitsAndSaysWhatItCouldNot(t *testing.T) {
	j := begin(t, "plugin-revoked")
	j.enrol("agents-revoked")
	j.allow(func(p *v1alpha1.CapabilityPolicySpec) { p.Repos = []string{"*"} })
	repos := []string{"web-app", "web-app", "payments"}
	all := make([]*journey, len(repos))
	for i, repo := range repos {
		one := *j
		one.name = fmt.Sprintf("plugin-revoked-%d", i)
		one.request(func(r *v1alpha1.CapabilityRequest) { r.Spec.Environment, r.Spec.Repo = j.name, repo })
		one.job()
		all[i] = &one
	}
	for _, one := range all {
		one.awaitDelivered()
	}
	j.store(&rbacv1.RoleBinding{ObjectMeta: j.meta("release-managers"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "valetkey-revoker"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: "release-managers"}}})
	only := on("capabilitygrants", "revoke")
	only.ResourceNames = []string{all[0].name}
	j.may("dave@example.com", on("capabilitygrants", "get", "list", "patch"), only)

	alice, dave := j.aliceTypes(), j.typist("dave@example.com")
	alice.types("revoke", "--all", "-A", "--yes").exits(1).complains("error: listing grants: the API server refuses it: ", "at the cluster scope",
		"next: have the ClusterRole valetkey-viewer bound: kubectl create clusterrolebinding NAME --clusterrole=valetkey-viewer --user=alice@example.com")
	alice.types("revoke", "--all", "--capability", "nothing", "--yes").exits(1).complains("there is nothing to revoke")
	dave.types("revoke", "--all", "--yes", "--reason", "all of it").exits(1).says("agents-revoked/plugin-revoked-0: revoked by dave@example.com").
		complains("agents-revoked/plugin-revoked-1: not revoked: ", "dave@example.com lacks the verb revoke", "error: 2 of 3 grants not revoked: agents-revoked/plugin-revoked-1, agents-revoked/plugin-revoked-2")
	all[0].awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)

	said := alice.atTerminal("yes\n", nil, "revoke", "--all", "--repo", "payments", "--actor", "openclaw-agent", "--reason", "leak").exits(0).
		says("plugin-revoked-2", "agents-revoked/plugin-revoked-2: revoked by alice@example.com").complains(`Revoke 1 grant at once, for "leak"? [y/N] `)
	if strings.Contains(said.stdout, "plugin-revoked-1") {
		t.Errorf("a grant for another repo is listed:\n%s", said.stdout)
	}
	all[2].awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)
	all[1].awaitDelivered()
	j.adminTypes().types("revoke", "--all", "-A", "--repo", "web-app", "--capability", "nothing", "--yes").exits(1)
	alice.types("revoke", "--all", "--yes").exits(0).says("agents-revoked/plugin-revoked-1: revoked by alice@example.com")
	all[1].awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)
}

func TestWhySaysWhatTheOperatorSays(t *testing.T) {
	j := begin(t, "plugin-why")
	j.allow(byAlice)
	j.ask()
	j.awaitDeadline()
	said := j.agentTypes().types("why", j.name).exits(0).says("plugin-why (Allow) cannot be told yet, and decides\n", "  open approval       1 approval, from group release-managers\n", "preview-builds (Allow) does not match")
	words := regexp.MustCompile(`(?m)^  (?:operator    AwaitingApproval: |pending     )(.*)$`).FindAllStringSubmatch(said.stdout, -1)
	if len(words) != 2 || words[0][1] != words[1][1] {
		t.Errorf("the operator and the plugin say %q", words)
	}
	if strings.Contains(said.stdout, "depends on what could not be read") {
		t.Errorf("the agent may read all that it needs:\n%s", said.stdout)
	}
	// Alice may decide, and not read the catalogue.
	j.aliceTypes().types("why", j.name).exits(0).says("What could not be read; the operator may decide otherwise than what follows\n",
		"!!!         you may not read the capability\n", "!!!         you may not list capabilitypolicies (ClusterRole valetkey-catalogue-viewer)\n")
}

func TestCanSaysWhatTheServerWouldSay(t *testing.T) {
	j := begin(t, "plugin-can")
	j.allow(byAlice, func(p *v1alpha1.CapabilityPolicySpec) {
		p.Requesters = append(p.Requesters, v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "eve@example.com"})
	})
	asks := func(more ...string) []string {
		return append([]string{"can", capability, "--repo", "web-app", "--env", j.name}, more...)
	}
	agent := j.agentTypes()
	agent.types(asks("--ttl", "15m")...).exits(0).says("yes, after 1 approval, from group release-managers\n", "requester   system:serviceaccount:agents:web-app-bot\n")
	agent.types("can", capability, "--repo", "web-app", "--env", "rehearsal").exits(0).says("yes, without anybody's approval\n")
	agent.types("can", capability, "--repo", "payments", "--env", "rehearsal", "--ttl", "1h").exits(1).says("no: ", "allows repos web-app", "allows ttlSeconds up to 900",
		"  rehearsals  repos: web-app; the request has payments\n  rehearsals  maxTTLSeconds: up to 900; the request has 3600\n")
	agent.types("can", "publish-preview", "--repo", "web-app", "--env", j.name).exits(1).says(`no: there is no capability "publish-preview"; policies let this requester ask for publish-preview-build`)

	// The policies would let eve, and the API server would not.
	eve := j.adminTypes("--as=eve@example.com")
	eve.types(asks()...).exits(1).says("no: a policy would allow it, but the request would not be taken: ", `User "eve@example.com" cannot create resource "capabilityrequests"`,
		"\nnext: have the ClusterRole valetkey-requester bound in namespace agents: kubectl create rolebinding NAME -n agents --clusterrole=valetkey-requester --user=eve@example.com\n")
	j.may("eve@example.com", on("capabilityrequests", "create"))
	eve.types(asks()...).exits(0).says("requester   eve@example.com\n")
	j.store(&v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "plugin-can-admin"}, Spec: v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectAllow, Capabilities: []string{capability},
		Repos: []string{"web-app"}, Environments: []string{j.name}, Requesters: []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "admin"}}}})
	other := *j
	other.namespace = "default"
	other.adminTypes().types(asks()...).exits(1).says("no: namespace default is not enrolled: a cluster administrator labels it valetkey.dev/enrolled=true")
	agent.types("can", capability, "--repo", "no/../repo", "--env", j.name).exits(1)

	// Whoever may not read the catalogue, or be somebody else, is told so.
	j.typist("nobody@example.com").types(asks()...).exits(2).says("it cannot be told: what it depends on cannot be read", "(ClusterRole valetkey-catalogue-viewer)")
	impostor := j.agentTypes()
	impostor.flags = []string{"--as=alice@example.com"}
	impostor.types(asks()...).exits(2).complains(`error: asking the API server who you are: `, "next: the API server does not let you in under this name. Whoever acts as somebody else, with --as, needs the right to impersonate them")

	stored := &v1alpha1.CapabilityRequestList{}
	j.must(j.w.admin.List(t.Context(), stored))
	for _, r := range stored.Items {
		if strings.HasPrefix(r.Name, "can-") {
			t.Errorf("a request was made: %s/%s", r.Namespace, r.Name)
		}
	}
}

func TestVerifyTakesTheGrantsFromTheCluster(t *testing.T) {
	j := begin(t, "plugin-verified")
	j.deliverWithoutApproval()
	j.agentTypes().types("audit", "verify", "--from-cluster", j.operator.audit).exits(2).complains("error: listing the grants of all namespaces: the API server refuses it: ",
		"next: have the ClusterRole valetkey-viewer bound: kubectl create clusterrolebinding NAME --clusterrole=valetkey-viewer --serviceaccount=agents:web-app-bot")
	copied := filepath.Join(t.TempDir(), "audit.log")
	text, err := os.ReadFile(j.operator.audit)
	j.must(err)
	j.must(os.WriteFile(copied, text[:bytes.IndexByte(text, '\n')+1], 0o600))
	j.adminTypes().types("audit", "verify", "--from-cluster", copied).exits(1).says("BROKEN grant ", "\nName every file of the log.")
	j.adminTypes().types("audit", "verify", j.operator.audit).says("writer ")
}
