// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/visible"
)

// TestOperatorSays_AllButItsOwnCommand: what the operator repeats of others can have the words before the command.
func TestOperatorSays_AllButItsOwnCommand(t *testing.T) {
	const command = "; look at status.review, then: kubectl "
	for reason, row := range map[string]struct{ message, want string }{
		v1alpha1.ReasonAwaitingApproval: {`one waits, from group "x` + command + `"` + command + "annotate", `AwaitingApproval: one waits, from group "x` + command + `"`},
		v1alpha1.ReasonRequesterTooStrong: {`RoleBinding "x` + command + `"; bot may approve`,
			`RequesterTooStrong: RoleBinding "x` + command + `"; bot may approve`},
	} {
		r := &v1alpha1.CapabilityRequest{}
		r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAllowed, Reason: reason, Message: row.message}}
		if got := operatorSays(r); got != row.want {
			t.Errorf("it says %s\nwant %s", got, row.want)
		}
	}
}

// TestDecisionWords_QuoteAName: an authenticator reports any text.
func TestDecisionWords_QuoteAName(t *testing.T) {
	r := &v1alpha1.CapabilityRequest{}
	for by, want := range map[string]string{"alice@example.com": "Deny by alice@example.com (of", "alice, and bob": `Deny by "alice, and bob" (of`} {
		if got := decisionWords(r, v1alpha1.Decision{By: by, Decision: v1alpha1.DecisionDeny, Digest: "d"}); !strings.HasPrefix(got, want) {
			t.Errorf("it says %s, want %s", got, want)
		}
	}
}

func TestDescribeSaysAllThatAPersonDecidesOn(t *testing.T) {
	at(t, aRequest(), aJob()).types("describe", "publish-pr-184").exits(0).prints(`
publish-pr-184 in namespace agents: AwaitingApproval

Who asks, as the API server knows them
  requester   system:serviceaccount:agents:web-app-bot
  groups      system:serviceaccounts, system:authenticated
  asked       2026-11-25T11:55:00Z (5m ago)

In the agent's own words, which nobody has checked
  task        "pr-184"
  actor       "openclaw-agent"
  why         "Publish the preview build for PR-184"

What it gets
  capability  publish-preview-build: Upload the preview build of one repository.
  for         repo web-app, environment preview, for 15m
  acts as     arn:aws:iam::123456789012:role/preview-deployer, by provider aws-preview
  scope       s3:PutObject on arn:aws:s3:::previews/web-app/*

What will run with it
  container   publish of Job valetkey-publish-pr-184, as ServiceAccount runner
  all of it   kubectl get job valetkey-publish-pr-184 -n agents -o yaml

What runs
  publish (step)   image "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  publish (step)   command "/publish-preview"
  beside (beside)  image "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  beside (beside)  command is not set: the image decides what runs

As whom it runs
  the Pod          serviceAccountName "runner"
  the Pod          automountServiceAccountToken false

What is decided
  policy      preview-builds, generation 1
  operator    AwaitingApproval: policy preview-builds waits for 1 approval by 2026-11-25T12:56:00Z, from group release-managers
  decision    nobody's yet
  digest      4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865

next: kubectl valetkey approve publish-pr-184 -n agents, or deny
`)
}

func TestDescribeIsLoudAboutWhatAnApprovalDoesNotCover(t *testing.T) {
	r := aRequest(func(r *v1alpha1.CapabilityRequest) {
		r.Status.Review.NotCovered = []string{"the image publisher:latest of container publish is not named by digest", "volume code is ConfigMap code, which can change"}
	})
	at(t, r, aJob()).types("describe", r.Name).exits(0).says(
		"!!! NOT COVERED: 2 things can change after the approval, without anybody being asked again\n",
		"  !!! 1       the image publisher:latest of container publish is not named by digest\n",
		"  !!! 2       volume code is ConfigMap code, which can change\n")
}

// TestDescribeShowsWhatTheReviewDoesNotRepeat: a variable can make a harmless command another one.
func TestDescribe_ShowsEverythingThatCanTouchTheStep(t *testing.T) {
	job := aJob(func(j *batchv1.Job) {
		pod := &j.Spec.Template.Spec
		step, beside := &pod.Containers[0], &pod.Containers[1]
		step.Command = nil
		step.Env = []corev1.EnvVar{{Name: "NODE_OPTIONS", Value: "--require /tmp/x"},
			{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "other"}, Key: "token"}}}}
		step.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}}
		step.VolumeMounts = []corev1.VolumeMount{{Name: "code", MountPath: "/code"}}
		step.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/probe"}}}}
		beside.Command = []string{"sh", "-c", "echo evil > /code/run\nsleep 9\n"}
		beside.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/hook"}}}}
		pod.HostAliases = []corev1.HostAlias{{IP: "10.0.0.1", Hostnames: []string{"s3.amazonaws.com"}}}
		pod.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"10.0.0.2"}}
		pod.AutomountServiceAccountToken = nil
	})
	at(t, aRequest(), job).types("describe", "publish-pr-184").exits(0).says(`
What runs
  publish (step)   image "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  publish (step)   livenessProbe.exec.command "/probe"
  publish (step)   command is not set: the image decides what runs
  beside (beside)  image "registry.example.com/publisher@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
  beside (beside)  command "sh" "-c"
  beside (beside)  command these lines, as one word:
                   | echo evil > /code/run
                   | sleep 9
                   | 
  beside (beside)  lifecycle.preStop.exec.command "/hook"

What it reads
  publish (step)   envFrom 0: configMapRef.name "settings"
  publish (step)   env NODE_OPTIONS="--require /tmp/x"
  publish (step)   env TOKEN: valueFrom.secretKeyRef.name "other", valueFrom.secretKeyRef.key "token"
  publish (step)   volumeMounts /code: name "code", mountPath "/code"

Whom it talks to
  the Pod          hostAliases 0: ip "10.0.0.1", hostnames ["s3.amazonaws.com"]
  the Pod          dnsConfig.nameservers ["10.0.0.2"]

As whom it runs
  the Pod          serviceAccountName "runner"
  the Pod          automountServiceAccountToken is not set: each container has that account's token, unless the account says otherwise
`)
	other := aJob(func(j *batchv1.Job) { j.UID = "j-2" })
	at(t, aRequest(), other).types("describe", "publish-pr-184").exits(0).says(
		`  command     "/publish-preview"`, "the rest    not known: the Job that was reviewed is gone")
}

// TestDescribe_SaysForWhatAVariableCounts: what a later variable replaces can be in another one's value already.
func TestDescribe_SaysForWhatAVariableCounts(t *testing.T) {
	job := aJob(func(j *batchv1.Job) {
		j.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "TARGET", Value: "--delete-all"}, {Name: "DEST", Value: "$(TARGET)"}, {Name: "TARGET", Value: "web-app"}}
	})
	at(t, aRequest(), job).types("describe", "publish-pr-184").exits(0).says(`
  publish (step)   env TARGET="--delete-all", which counts only for $(TARGET) in DEST: it is the variable 1 of 2 of this name, and a later one replaces it
  publish (step)   env DEST="$(TARGET)"
  publish (step)   env TARGET="web-app", which replaces the others, but not for $(TARGET) in DEST: it is the last of 2 variables of this name
`)
}

func TestDescribe_ShowsWhatTheStepReadsAsItWasReviewed(t *testing.T) {
	content := func(script string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: "scripts", UID: "c-1"},
			Data: map[string]string{"run.sh": script}, BinaryData: map[string][]byte{"logo.png": []byte("#!/bin/sh\ncurl x | sh\n"), "tool": {1, 0xff}}}
	}
	reviewed := content("set -e\n\techo harmless\n" + strings.Repeat("#\n", 50))
	job := aJob(func(j *batchv1.Job) {
		for _, name := range []string{"scripts", "absent"} {
			j.Spec.Template.Spec.Volumes = append(j.Spec.Template.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
				ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: ptr.To(true)}}})
		}
	})
	review, _, err := policy.NewReview(policy.ReviewInput{Request: aRequest(), Job: job, Capability: &v1alpha1.Capability{}, Provider: &v1alpha1.CapabilityProvider{},
		ConfigMaps: map[string]*corev1.ConfigMap{"scripts": reviewed}})
	if err != nil {
		t.Fatal(err)
	}
	r := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Status.Review.Inputs = review.Inputs })
	at(t, r, job, reviewed).types("describe", r.Name).exits(0).says(`
The ConfigMaps that it reads, of which it gets copies as they were reviewed
  configmap   absent: does not exist, and will not exist for the Pod
  configmap   scripts, SHA-256 `+review.Inputs[1].SHA256[:12]+`…:
              run.sh:
              | set -e
              | \u0009echo harmless
`, `and 13 more lines that are not shown: kubectl get configmap scripts -n agents -o go-template='{{index .data "run.sh"}}' | cat -v`, `
              logo.png:
              | #!/bin/sh
              | curl x | sh
              | 
              tool: 2 bytes that are not UTF-8, SHA-256 4b3a43f592f577fcfcb5b0e1f42bec5182c9edc414e1f667528f56e7cf0be11d: `+
		`kubectl get configmap scripts -n agents -o go-template='{{index .binaryData "tool" | base64decode}}' | cat -v`)

	for _, now := range []*corev1.ConfigMap{content("echo evil"), func() *corev1.ConfigMap { c := reviewed.DeepCopy(); c.UID = "c-2"; return c }()} {
		said := at(t, r, job, now).types("describe", r.Name).exits(0).says("  !!!         scripts: it does not hold any more what was reviewed")
		if strings.Contains(said.stdout, "evil") || strings.Contains(said.stdout, "harmless") {
			t.Error("what was not reviewed is shown as if it was")
		}
	}
	at(t, r, job).types("describe", r.Name).exits(0).says("scripts, SHA-256 ", "it cannot be shown: ")
}

// TestDescribe_TellsTheClustersCertificatesByWhatTheyAre: by the ConfigMap's name alone anybody's script would pass for them.
func TestDescribe_TellsTheClustersCertificatesByWhatTheyAre(t *testing.T) {
	own := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(own, []byte("-----BEGIN CERTIFICATE-----\nb3du\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const known = "configmap   kube-root-ca.crt: the cluster's own certificates, as in your kubeconfig\n"
	for name, row := range map[string]struct {
		data   map[string]string
		binary map[string][]byte
		flags  []string
		shown  string
	}{
		"the very same":             {map[string]string{"ca.crt": "-----BEGIN CERTIFICATE-----\nb3du"}, nil, []string{"--certificate-authority=" + own}, known},
		"with blanks behind":        {map[string]string{"ca.crt": "-----BEGIN CERTIFICATE-----\nb3du\n \t\n"}, nil, []string{"--certificate-authority=" + own}, "\\u0009"},
		"with lines behind":         {map[string]string{"ca.crt": "-----BEGIN CERTIFICATE-----\nb3du\n\n"}, nil, []string{"--certificate-authority=" + own}, "| b3du"},
		"another's":                 {map[string]string{"ca.crt": "echo evil"}, nil, []string{"--certificate-authority=" + own}, "| echo evil"},
		"with more beside":          {map[string]string{"ca.crt": "-----BEGIN CERTIFICATE-----\nb3du\n", "run.sh": "echo evil"}, nil, []string{"--certificate-authority=" + own}, "| echo evil"},
		"with more that is no text": {map[string]string{"ca.crt": "-----BEGIN CERTIFICATE-----\nb3du\n"}, map[string][]byte{"tool": {1}}, []string{"--certificate-authority=" + own}, "| \\u0001"},
		"a kubeconfig without any":  {map[string]string{"ca.crt": ""}, nil, nil, "ca.crt:"},
	} {
		t.Run(name, func(t *testing.T) {
			found := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "agents", Name: policy.RootCA, UID: "c-1"}, Data: row.data, BinaryData: row.binary}
			job := aJob(func(j *batchv1.Job) { j.Spec.Template.Spec.AutomountServiceAccountToken = nil })
			review, _, err := policy.NewReview(policy.ReviewInput{Request: aRequest(), Job: job, Capability: &v1alpha1.Capability{}, Provider: &v1alpha1.CapabilityProvider{},
				ConfigMaps: map[string]*corev1.ConfigMap{policy.RootCA: found}})
			if err != nil {
				t.Fatal(err)
			}
			r := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Status.Review.Inputs = review.Inputs })
			said := at(t, r, job, found).types(append([]string{"describe", r.Name}, row.flags...)...).exits(0).says(row.shown)
			if row.shown != known && strings.Contains(said.stdout, known) {
				t.Error("it passes for the cluster's own")
			}
		})
	}
}

// TestApart_NoTwoLinesAreShownAlike has each line of a few characters shown, as a page shows it.
func TestApart_NoTwoLinesAreShownAlike(t *testing.T) {
	parts := []string{`\`, "u0009", "\t", "x", "x09", " ", "\u200b", "\xff", "a"}
	seen := map[string]string{}
	var all func(line string, left int)
	all = func(line string, left int) {
		var b page
		b.lines(line)
		if other, is := seen[b.String()]; is && other != line {
			t.Errorf("%q and %q are both shown as %q", line, other, b.String())
		}
		seen[b.String()] = line
		for _, part := range parts {
			if left > 0 {
				all(line+part, left-1)
			}
		}
	}
	all("", 5)
}

func TestDescribeShowsAScriptLineByLine(t *testing.T) {
	r := aRequest(func(r *v1alpha1.CapabilityRequest) {
		script := "set -e \\ \n\tcurl x     # y\n" + strings.Repeat(" ", 66) + "What it gets\n"
		r.Status.Review.Job.Command, r.Status.Review.Job.Args = nil, []string{"-c", script, "last"}
	})
	at(t, r).types("describe", r.Name).exits(0).says(`  command     the image's own
  args        "-c"
  args        these lines, as one word:
              | set -e \␣{1}
              | \u0009curl x␣{5}# y
              | ␣{66}What it gets
              | 
  args        "last"
`)
}

// TestDescribe_NoValueBeginsARowOfTheTerminal: a reason that guesses the width would go on as sections of its own.
func TestDescribe_NoValueBeginsARowOfTheTerminal(t *testing.T) {
	for _, columns := range []int{80, 120} {
		why := "Publish the preview build for PR-184."
		why += strings.Repeat(" ", columns-len(`  why         "`+why))
		for _, row := range []string{"", "What it gets", "  capability  read-settings: Read the docs.", "  scope       nothing", "", "What is decided",
			"  decision    Approve by bob@example.com (first of two)"} {
			why += row + strings.Repeat(" ", columns-len(row))
		}
		r := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Spec.Justification = why })
		job := aJob(func(j *batchv1.Job) {
			j.Spec.Template.Spec.Containers[0].Args = []string{why, strings.ReplaceAll(why, " ", "x")}
		})
		for _, args := range [][]string{{"describe", r.Name}, {"approve", r.Name, "--yes"}, {"requests", "-o", "wide"}, {"describe", r.Name, "-o", "json"}} {
			shown := at(t, r, job).onTerminal(columns, args...)
			whole := at(t, r, job).types(args...).stdout
			for row := range strings.Lines(shown) {
				if row = strings.TrimSuffix(row, "\n"); len([]rune(row)) > columns {
					t.Errorf("%v: the terminal breaks %q", args, row)
				}
				begins := strings.TrimLeft(row, " ")
				if row != "" && !strings.HasPrefix(begins, string(visible.Continuation)) && !strings.Contains("\n"+whole, "\n"+row) {
					t.Errorf("%v in %d columns: a value begins the row %q", args, columns, row)
				}
			}
			if args[0] == "describe" && len(args) == 2 && strings.Count(shown, "\nWhat it gets\n") != 1 {
				t.Errorf("%v in %d columns: a section is forged:\n%s", args, columns, shown)
			}
		}
	}
}

func TestDescribeSaysWhoDecidedWhat(t *testing.T) {
	r := aRequest(func(r *v1alpha1.CapabilityRequest) {
		r.Decisions = []v1alpha1.Decision{{By: "alice@example.com", Decision: v1alpha1.DecisionApprove, Digest: digest, Reason: "looks right"},
			{By: "bob@example.com", Decision: v1alpha1.DecisionDeny, Digest: strings.Repeat("0", 64)}}
	})
	at(t, r).types("describe", r.Name).exits(0).says(
		`  decision    Approve by alice@example.com: "looks right"`+"\n", "  decision    Deny by bob@example.com (of another review; it does not count)\n")
}

func TestDescribeTellsTheWholeLifeOfARequest(t *testing.T) {
	unseen := aRequest(func(r *v1alpha1.CapabilityRequest) {
		r.Status, r.Spec.TTLSeconds = v1alpha1.CapabilityRequestStatus{}, nil
	})
	at(t, unseen).types("describe", unseen.Name).exits(0).says("publish-pr-184 in namespace agents: Unseen", "repo web-app, environment preview, for as long as the capability's default",
		"scope       not known: the operator has written no review yet", "operator    nothing yet; it has not looked at the request, is not running, or does not watch this namespace (--watch-namespace)", "next: kubectl valetkey why publish-pr-184 -n agents")

	granted := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Status.GrantName = r.Name })
	at(t, granted, aGrant(granted.Name)).types("describe", granted.Name).exits(0).says("lease 9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731: Delivered",
		"issued      2026-11-25T11:57:00Z (3m ago)", "time is up  2026-11-25T12:12:00Z (in 12m)", "in its log  arn:aws:sts::123456789012:assumed-role/preview-deployer/agent-9f8c6b6a-1, credential ASIAEXAMPLE",
		"next: kubectl valetkey revoke publish-pr-184 -n agents ends it at once")
	at(t, granted).types("describe", granted.Name).exits(0).says("grant       not known: ")
	starting := aGrant(granted.Name, func(g *v1alpha1.CapabilityGrant) {
		g.Status.Conditions = append(g.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionRunning, Status: metav1.ConditionFalse,
			Reason: v1alpha1.ReasonNotStarted, Message: "container publish does not run yet: ErrImagePull: no such digest"})
	})
	at(t, granted, starting).types("describe", granted.Name).exits(0).says("step        container publish does not run yet: ErrImagePull: no such digest\n")
	ending := aGrant(granted.Name, func(g *v1alpha1.CapabilityGrant) {
		g.Status.Stop = &v1alpha1.GrantStop{Reason: v1alpha1.ReasonRevokedByAnnotation, Message: "revoked by alice"}
		g.Status.Conditions = append(g.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionEnded, Status: metav1.ConditionFalse,
			Reason: v1alpha1.ReasonEnding, Message: "the back end has not confirmed that the credential is revoked: STS is down"})
	})
	at(t, granted, ending).types("describe", granted.Name).exits(0).says("waits for   the back end has not confirmed that the credential is revoked: STS is down\n",
		"next: nothing, if it ends in a while; docs/runbooks/ValetkeyRevocationUnconfirmed.md, if it does not\n")

	ended := aRequest(func(r *v1alpha1.CapabilityRequest) {
		r.Status.GrantName, r.Status.EndedAt = r.Name, &metav1.Time{Time: noon()}
	})
	at(t, ended, aGrant(ended.Name, over)).types("describe", ended.Name).exits(0).says("stopped     RevokedByAnnotation: revoked by alice@example.com: enough",
		"revocation  AtExpiry, a copy of the credential works until 2026-11-25T12:12:00Z (in 12m)", "next: nothing; it has ended")
	unknown := aGrant(ended.Name, over, func(g *v1alpha1.CapabilityGrant) { g.Status.Revocation.ExposedUntil = nil })
	at(t, ended, unknown).types("describe", ended.Name).exits(0).says("revocation  AtExpiry, and nobody can say until when a copy of what was issued works\n")
	confirmed := aGrant(ended.Name, over, func(g *v1alpha1.CapabilityGrant) {
		g.Status.Revocation = &v1alpha1.Revocation{Mode: v1alpha1.RevocationImmediate, ConfirmedAt: &metav1.Time{Time: noon().Add(-time.Second)}}
	})
	at(t, ended, confirmed).types("describe", ended.Name).exits(0).says("revocation  Immediate, confirmed by the back end 2026-11-25T11:59:59Z (1s ago)\n")
	confirmed.Status.Revocation.LeavesOpen = true
	at(t, ended, confirmed).types("describe", ended.Name).exits(0).
		says("confirmed by the back end 2026-11-25T11:59:59Z (1s ago), what was opened with it may go on\n")

	refused := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Status.EndedAt = &metav1.Time{Time: noon()} })
	at(t, refused).types("describe", refused.Name).exits(0).says("next: kubectl valetkey why publish-pr-184 -n agents tells it policy by policy; a request never changes: create another")
}

func TestDescribeGivesTheObjectToPrograms(t *testing.T) {
	at(t, aRequest()).types("describe", "publish-pr-184", "-o", "yaml").exits(0).says("kind: CapabilityRequest\n", "  name: publish-pr-184\n")
	at(t, aRequest()).types("describe", "publish-pr-184", "-o", "wide").exits(1).complains("want json or yaml")
}

// TestDescribe_ANameIsOnOneLine: no API server has such names, and a hostile one might.
func TestDescribe_ANameIsOnOneLine(t *testing.T) {
	r := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Name = "p1\nFORGED  line" })
	for _, verb := range []string{"describe", "why"} {
		if said := at(t, r, aJob()).types(verb, r.Name).exits(0).stdout; strings.Contains(said, "\nFORGED") {
			t.Errorf("%s prints\n%s", verb, said)
		}
	}
}
