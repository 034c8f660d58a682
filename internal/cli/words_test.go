// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/config"
	"github.com/valetkey/valetkey/internal/visible"
)

// hostile is what somebody would write who wants the terminal to say something else: colours, the cursor, the title, the other
// direction, invisible characters, marks that are painted on what stands before them, lines of their own, and bytes that are
// no text.
const hostile = "\u0338\u0336x\u0301\u0302\u0303\u0304\u0305\u0306 \u3164\u2800\ufe0f\U000e0100\u034f\u115f\U00016fe4" +
	"\x1b[2J\x1b]0;owned\x07\x9b31m\u202eevil\u2066\u200b\u00ad\u2028\u0085\ue000\U000e0041\r\x7f\v\f\b\nnext: all is well\n\tforged"

// poison writes it into every string of an object, under the words that are there.
func poison(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			poison(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().
				Field(i).
				Name; v.Field(i).CanSet() && name != "ObjectMeta" && name != "TypeMeta" && name != "GrantName" &&
				name != "Type" {
				poison(v.Field(i))
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i))
		}
	case reflect.String:
		v.SetString(v.String() + hostile)
	}
}

// TestNothingFromTheClusterPlaysWithTheTerminal, whatever field it stands in and whatever command prints it.
func TestNothingFromTheClusterPlaysWithTheTerminal(t *testing.T) {
	r := aRequest(func(r *v1alpha1.CapabilityRequest) {
		r.Decisions = []v1alpha1.Decision{
			{By: "alice", Decision: v1alpha1.DecisionApprove, Digest: "d", Reason: "because"},
		}
		r.Status.Review.NotCovered = []string{"an image"}
	})
	granted := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Name, r.Status.GrantName = "granted", "granted" })
	g, doomed := aGrant("granted", over), aGrant("living")
	job := aJob()
	preview := aPolicy("preview-builds")
	for _, object := range []client.Object{r, granted, g, doomed, job, preview} {
		poison(reflect.ValueOf(object))
	}
	job.UID = "j-1"
	r.Status.Review.Job.UID, r.Status.Review.Job.Name = "j-1", job.Name
	d := at(t, r, granted, g, doomed, job, preview)
	for _, args := range [][]string{
		{"describe", r.Name}, {"describe", "granted"}, {"why", r.Name}, {"approve", r.Name}, {"deny", r.Name, "--yes"}, {"requests"}, {"requests", "-o", "wide"},
		{"grants", "--all", "-o", "wide"}, {"revoke", "living", "--yes"}, {"describe", "nobody\x1b[2J"}, {"describe", r.Name, "-o", "json"}, {"describe", r.Name, "-o", "yaml"},
		{"why", r.Name, "-o", "json"}, {"why", r.Name, "-o", "yaml"}, {"requests", "-o", "yaml"}, {"can", "x\x1b[2J", "--repo", "r\u202e", "--env", "e"}, {"__complete", "describe", ""},
	} {
		said := d.types(args...)
		text := said.stdout + said.stderr
		if said.stdout == "" && said.stderr == "" {
			t.Errorf("%q says nothing", args)
		}
		for i, c := range text {
			lawful := c == '\n' || c == '\t' && args[0] == "__complete" ||
				unicode.IsMark(c) // marks are looked at below
			if !lawful && visible.Line(string(c)) != string(c) {
				t.Errorf("%q lets %q reach the terminal: %q", args, c, text[max(0, i-40):i])
				break
			}
		}
		if string(visible.Text([]byte(text))) != text {
			t.Errorf("%q lets marks be painted on others' words", args)
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "next: all is well") || strings.HasPrefix(line, "forged") {
				t.Errorf("%q lets a value forge the line %q", args, line)
			}
		}
	}
}

// TestRun_NothingFromTheClusterForgesAStep: a step of run is a line of its own, whatever a policy or an approver wrote.
func TestRun_NothingFromTheClusterForgesAStep(t *testing.T) {
	var told bytes.Buffer
	streams := genericiooptions.IOStreams{In: strings.NewReader(""), Out: &told, ErrOut: &told}
	s := newShell(streams, clocktesting.NewFakePassiveClock(noon()), dial)
	r := aRequest(func(r *v1alpha1.CapabilityRequest) {
		r.Status.Conditions[0].Message += "\npolicy.result       approved=true"
		r.Status.Review = nil
	})
	newJourney(s, nil, r).lookAtRequest(r)
	if got := told.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `\u000apolicy.result`) {
		t.Errorf("%q", got)
	}
}

// TestWhatProgramsReadIsWhatIsStored: what the screen spells in JSON is the same JSON, and YAML that it would change is written as JSON.
func TestWhatProgramsReadIsWhatIsStored(t *testing.T) {
	for _, words := range []string{"plain", "x\x1b[2J\u202eevil\U000e0041\u0085\nlast", "\u2800",
		"e\u0301\u0301", "\\e\u0301", "\u0301", "❤\ufe0f"} {
		r := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Status.Review.Job.Args = []string{words} })
		for _, format := range []string{"json", "yaml"} {
			var got v1alpha1.CapabilityRequest
			read := map[string]func([]byte) error{"json": func(text []byte) error { return json.Unmarshal(text, &got) }, "yaml": func(text []byte) error { return yaml.Unmarshal(text, &got) }}[format]
			if err := read([]byte(at(t, r).types("describe", r.Name, "-o", format).exits(0).stdout)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{words}, got.Status.Review.Job.Args); diff != "" {
				t.Errorf("%s (-want +got):\n%s", format, diff)
			}
		}
	}
}

// forbidden is what the API server says to somebody without a right.
func forbidden(words string) error {
	err := apierrors.NewForbidden(
		schema.GroupResource{Group: v1alpha1.GroupVersion.Group, Resource: "capabilityrequests"},
		"publish-pr-184",
		fmt.Errorf("%s", words),
	)
	return fmt.Errorf("approving request publish-pr-184: %w", err)
}

func TestARefusalSaysWhoRefusedAndLeadsOn(t *testing.T) {
	for name, c := range map[string]struct {
		words, want string
	}{
		"a rule": {`ValidatingAdmissionPolicy 'valetkey-decisions' with binding 'valetkey-decisions' denied request: nobody decides on their own request; ask somebody else`,
			"approving request publish-pr-184: the API server's rule valetkey-decisions refuses it: nobody decides on their own request; ask somebody else"},
		"a missing right in a namespace": {`User "bob" cannot patch resource "capabilityrequests" in API group "valetkey.dev" in the namespace "agents"`,
			"\nnext: have the ClusterRole valetkey-approver bound in namespace agents: kubectl create rolebinding NAME -n agents --clusterrole=valetkey-approver --user=bob"},
		"a missing right of an account": {`User "system:serviceaccount:agents:web-app-bot" cannot list resource "capabilitygrants" in API group "valetkey.dev" in the namespace "agents"`,
			"\nnext: have the ClusterRole valetkey-viewer bound in namespace agents: kubectl create rolebinding NAME -n agents --clusterrole=valetkey-viewer --serviceaccount=agents:web-app-bot"},
		"an agent that would approve": {`User "system:serviceaccount:agents:web-app-bot" cannot patch resource "capabilityrequests" in API group "valetkey.dev" in the namespace "agents"`,
			"\nnext: ask a person who may decide: agents decide on no request"},
		"an agent that would revoke": {`User "system:serviceaccount:agents:web-app-bot" cannot patch resource "capabilitygrants" in API group "valetkey.dev" in the namespace "agents"`,
			"\nnext: ask a person who may revoke; a request of your own you can withdraw: kubectl delete capreq NAME"},
		"an agent that would read what no agent reads": {`User "system:serviceaccount:agents:web-app-bot" cannot get resource "pods/log" in API group "" in the namespace "valetkey-system"`,
			"\nnext: ask a person: agents have no such right"},
		"somebody who would approve their own": {`User "carol" cannot patch resource "capabilityrequests" in API group "valetkey.dev" in the namespace "agents"`,
			"\nnext: ask somebody else to decide: nobody decides on their own request"},
		"a missing right everywhere": {`User "bob" cannot list resource "capabilitypolicies" in API group "valetkey.dev" at the cluster scope`,
			"\nnext: have the ClusterRole valetkey-catalogue-viewer bound: kubectl create clusterrolebinding NAME --clusterrole=valetkey-catalogue-viewer --user=bob"},
		"a right that no role for people holds": {`User "bob" cannot get resource "pods/log" in API group "" in the namespace "valetkey-system"`,
			"\nnext: ask whoever administers the cluster for the right to get pods/log"},
		"something else": {"the sky is falling", `approving request publish-pr-184: capabilityrequests.valetkey.dev "publish-pr-184" is forbidden: the sky is falling`},
	} {
		t.Run(name, func(t *testing.T) {
			agents := "agents"
			s := &shell{flags: &genericclioptions.ConfigFlags{Namespace: &agents}}
			if got := s.lead(&about{forbidden(c.words), "carol"}); !strings.HasSuffix(got, c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestARefusalByAKindSaysWhatToWrite, and names no regular expression and no field <nil>.
func TestARefusalByAKindSaysWhatToWrite(t *testing.T) {
	invalid := apierrors.NewInvalid(schema.GroupKind{Group: "valetkey.dev", Kind: "CapabilityRequest"}, "z9.y", field.ErrorList{
		field.Invalid(field.NewPath("spec", "taskID"), "a b", `spec.taskID in body should match '^[A-Za-z0-9][A-Za-z0-9._/#:@+-]*$'`),
		field.Invalid(nil, field.OmitValueType{}, "a request's name has lower case letters, digits and dashes"),
	})
	const want = `asking: CapabilityRequest.valetkey.dev "z9.y" is invalid: [spec.taskID: Invalid value: "a b": ` +
		`allowed are letters, digits and . _ / # : @ + -, with a letter or a digit first, ` +
		`Invalid value: a request's name has lower case letters, digits and dashes]`
	if got := (&shell{}).lead(fmt.Errorf("asking: %w", invalid)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestHints_TheNamespaceComesFirst: who names none may mean another than the kubeconfig's.
func TestHints_TheNamespaceComesFirst(t *testing.T) {
	nothing := interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return forbidden(
				`User "bob" cannot list resource "capabilityrequests" in API group "valetkey.dev" in the namespace "default"`,
			)
		},
	}
	d := intercepted(t, nothing)
	flags := []string{"requests", "--kubeconfig=" + d.kubeconfig(), "--server=https://127.0.0.1:1"}
	const bound = "have the ClusterRole valetkey-viewer bound in namespace default: "
	d.anywhere(flags...).
		exits(1).
		complains("next: add -n NAMESPACE, if default is not the namespace that you mean; else " + bound)
	d.anywhere(append(flags, "-n", "default")...).exits(1).complains("next: " + bound)
}

// TestHints_NoAgentIsAdvisedARoleOfPeople: whatever right it lacks.
func TestHints_NoAgentIsAdvisedARoleOfPeople(t *testing.T) {
	everywhere := ""
	s := &shell{flags: &genericclioptions.ConfigFlags{Namespace: &everywhere}}
	for _, user := range []string{agent, "carol"} {
		for _, verb := range []string{"get", "list", "watch", "create", "delete", "patch", "update", "approve", "revoke", "abandon", "bind"} {
			for _, resource := range []string{"capabilityrequests", "capabilitygrants", "capabilities", "capabilitypolicies", "capabilityproviders",
				"secrets", "pods/log", "rolebindings"} {
				for _, namespace := range []string{"agents", ""} {
					hint := s.missingRight(user, verb, resource, namespace, "carol")
					role := regexp.MustCompile(`--clusterrole=(\S+)`).FindStringSubmatch(hint)
					if strings.Contains(hint, "for the right to") ||
						role != nil && !slices.Contains(agentRoles(), role[1]) {
						t.Errorf("%s, who cannot %s %s, is told: %s", user, verb, resource, hint)
					}
				}
			}
		}
	}
}

// TestHints_NoRuleAdvisesARole: whom it refuses may be an agent.
func TestHints_NoRuleAdvisesARole(t *testing.T) {
	rules, err := fs.Glob(config.Admission, "admission/*.yaml")
	if err != nil || len(rules) < 10 {
		t.Fatal(rules, err)
	}
	messages := regexp.MustCompile(`(?m)^ +message(Expression)?: (>-\n +)?(.*)$`)
	said := 0
	for _, file := range rules {
		whole, err := fs.ReadFile(config.Admission, file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(messages.FindAllString(string(whole), -1), "\n")
		said += strings.Count(text, "message")
		for _, advice := range []string{"valetkey-approver", "valetkey-revoker", "valetkey-abandoner", "ClusterRole", "bind the role", "rolebinding"} {
			if strings.Contains(text, advice) {
				t.Errorf("%s says %q", file, advice)
			}
		}
	}
	if said < 100 {
		t.Errorf("%d messages were found", said)
	}
}

func TestEachRightOfAPersonIsInARole(t *testing.T) {
	for right, want := range map[string]string{
		"get capabilityrequests": "valetkey-viewer", "watch capabilitygrants": "valetkey-viewer", "patch capabilityrequests": "valetkey-approver", "update capabilityrequests": "valetkey-approver",
		"create capabilityrequests": "valetkey-requester", "delete capabilityrequests": "valetkey-requester", "patch capabilitygrants": "valetkey-revoker",
		"get capabilities": "valetkey-catalogue-viewer", "list capabilityproviders": "valetkey-viewer", "get secrets": "",
	} {
		verb, resource, _ := strings.Cut(right, " ")
		if got := roleFor(verb, resource); got != want {
			t.Errorf("%s: %q; want %q", right, got, want)
		}
	}
}

// TestAClusterWithoutValetkeyIsToldSo asks a server that knows no kinds of ours.
func TestAClusterWithoutValetkeyIsToldSo(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kinds := map[string]any{
			"/api":  map[string]any{"kind": "APIVersions", "versions": []string{"v1"}},
			"/apis": map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{}},
		}
		if kinds[r.URL.Path] == nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(kinds[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	for _, args := range [][]string{{"describe", "x"}, {"requests"}, {"revoke", "x"}} {
		var stdout, stderr bytes.Buffer
		s := newShell(
			genericiooptions.IOStreams{In: strings.NewReader(""), Out: &stdout, ErrOut: &stderr},
			clocktesting.NewFakePassiveClock(noon()),
			dial,
		)
		code := s.run(
			t.Context(),
			append(args, "--kubeconfig="+at(t).kubeconfig(), "--server="+server.URL, "--namespace=agents"),
		)
		if code != 1 ||
			!strings.Contains(stderr.String(), "next: the cluster does not know the kinds of valetkey.dev") {
			t.Errorf("%v exits with %d: %s", args, code, stderr.String())
		}
	}
}

func TestAMisspeltNameLeadsToTheRightOne(t *testing.T) {
	elsewhere := aRequest(func(r *v1alpha1.CapabilityRequest) { r.Namespace = "other" })
	var all []client.Object
	for _, name := range []string{"rehearsal", "publish-pr-148", "a", "b", "c", "d"} {
		all = append(all, aRequest(func(r *v1alpha1.CapabilityRequest) { r.Name = name }))
	}
	at(t, append(all, elsewhere)...).types("describe", "publish-pr-184").exits(1).complains(
		"error: there is no request publish-pr-184 in namespace agents; namespace other has one: add -n other; there are publish-pr-148, a, b, c, d and 1 more\n")
	at(t).types("revoke", "x").exits(1).complains("error: there is no grant x in namespace agents\n")

	// Whoever may look only into their own namespace is told what is there.
	here := interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, o ...client.ListOption) error {
			if len(o) == 0 {
				return forbidden("not everywhere")
			}
			return c.List(ctx, list, o...)
		},
	}
	intercepted(
		t,
		here,
		all[1],
		elsewhere,
	).types("describe", "publish-pr-184").
		exits(1).
		complains("in namespace agents; there are publish-pr-148\n")
}

func TestWhatCannotBeReadIsSaidWithTheRoleThatReads(t *testing.T) {
	nothing := interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return forbidden(
				`User "bob" cannot get resource "capabilityrequests" in API group "valetkey.dev" in the namespace "agents"`,
			)
		},
	}
	intercepted(
		t,
		nothing,
	).types("describe", "x").
		exits(1).
		complains("error: reading request x in namespace agents: ", "next: have the ClusterRole valetkey-viewer bound in namespace agents")
	job := interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, o ...client.GetOption) error {
			if _, job := object.(*batchv1.Job); job {
				return forbidden("no jobs")
			}
			return c.Get(ctx, key, object, o...)
		},
	}
	intercepted(
		t,
		job,
		aRequest(),
	).types("describe", "publish-pr-184").
		exits(0).
		says("the rest    not known: the Job cannot be read: ")
}

func TestLasting_IsExact(t *testing.T) {
	for seconds, want := range map[int32]string{1: "1s", 60: "1m", 899: "14m59s", 900: "15m", 3600: "1h", 5400: "1h30m", 43199: "11h59m59s", 43200: "12h"} {
		if got := lasting(seconds); got != want {
			t.Errorf("%d seconds are %s, want %s", seconds, got, want)
		}
	}
}
