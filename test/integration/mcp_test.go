// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	otherclient "github.com/mark3labs/mcp-go/client"
	othertransport "github.com/mark3labs/mcp-go/client/transport"
	othermcp "github.com/mark3labs/mcp-go/mcp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestAnAgentGoesTheWholeWayByTheProtocol: refused, corrected, approved by a person with the command that it was told, and done; once
// with the official client, by today's protocol, and once with another, by the handshake that came before.
func TestAnAgentGoesTheWholeWayByTheProtocol(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(*talk){"mcp-official": (*talk).byTheSDK, "mcp-other": (*talk).byAnother} {
		t.Run(name, func(t *testing.T) {
			j := begin(t, name)
			j.allow(byAlice, func(p *v1alpha1.CapabilityPolicySpec) { p.MaxTTLSeconds = ptr.To[int32](600) })
			talk := j.talk("web-app-bot", connect)
			if tools := talk.tools(); !slices.Equal(tools, []string{"ask", "capabilities", "status", "wait", "withdraw"}) {
				t.Errorf("the tools are %v", tools)
			}
			offers := talk.call("capabilities", nil)
			if !strings.Contains(offers.text, `"policy":"`+j.name+`","repos":["web-app"],"environments":["`+j.name+`"],"max_ttl_seconds":600,"approvals":1`) {
				t.Errorf("the terms are not told: %s", offers.text)
			}
			refused := talk.call("ask", j.plea(map[string]any{"ttl_seconds": 900}))
			if !refused.failed || refused.State != "refused" || refused.Rule != "policy "+j.name || refused.Change["ttl_seconds"] != "up to 600; the request has 900" {
				t.Errorf("refused: %s", refused.text)
			}
			if err := j.w.admin.Get(t.Context(), client.ObjectKeyFromObject(j.requestObject()), j.requestObject()); !apierrors.IsNotFound(err) {
				t.Errorf("what was refused is there: %v", err)
			}
			asked := talk.call("ask", j.plea())
			if asked.failed || asked.State != "awaiting_approval" || asked.Name != j.name || !strings.HasPrefix(asked.Approve, "kubectl annotate capreq "+j.name) {
				t.Fatalf("asked: %s", asked.text)
			}
			ended := talk.while("wait", map[string]any{"name": j.name, "timeout_seconds": 300}, func() {
				talk.awaitProgress("from group release-managers: " + asked.Approve)
				j.typed(asked.Approve)
				talk.awaitProgress("running: allowed by policy " + j.name + ", approved by [alice@example.com]")
				j.finish(corev1.PodSucceeded)
			})
			if ended.failed || ended.State != "ended" || ended.Outcome != "Completed" || !strings.Contains(ended.Next, "kubectl logs -n agents job/valetkey-"+j.name) {
				t.Errorf("ended: %s", ended.text)
			}
			if g := j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted); g.Spec.Actor != "an-agent" || g.Spec.TaskID != "pr-184" {
				t.Errorf("the grant is %+v", g.Spec)
			}
			talk.call("status", map[string]any{"name": j.name})
			talk.call("status", nil)
			talk.expectNoCredential()
		})
	}
}

func TestAnAgentWithdrawsWhatItAskedFor(t *testing.T) {
	j := begin(t, "mcp-withdraw")
	j.allow()
	talk := j.talk("web-app-bot", (*talk).byTheSDK)
	if asked := talk.call("ask", j.plea()); asked.failed {
		t.Fatalf("asked: %s", asked.text)
	}
	j.awaitRunning()
	withdrawn := talk.call("withdraw", map[string]any{"name": j.name})
	if withdrawn.failed || withdrawn.State != "withdrawn" || withdrawn.Until == "" {
		t.Errorf("withdrawn: %s", withdrawn.text)
	}
	awaitGone(t, j.w, j.grantObject())
	awaitGone(t, j.w, j.sampleJob())
	j.expectNoSecret()
	j.expectNoPods()
	j.expectAudited("revoked", v1alpha1.ReasonRequestGone, v1alpha1.ReasonGrantDeleted, v1alpha1.ReasonJobGone)
	if r := talk.call("status", map[string]any{"name": j.name}); r.State != "absent" || !r.failed {
		t.Errorf("afterwards: %s", r.text)
	}
	talk.expectNoCredential()
}

func TestWhatAPersonOrTheOperatorRefusesIsTold(t *testing.T) {
	j := begin(t, "mcp-denied")
	j.allow(byAlice)
	talk := j.talk("web-app-bot", (*talk).byTheSDK)
	asked := talk.call("ask", j.plea())
	denied := talk.while("wait", map[string]any{"name": j.name}, func() {
		talk.awaitProgress("awaiting_approval")
		j.typed(strings.Replace(asked.Approve, v1alpha1.AnnotationApprove, v1alpha1.AnnotationDeny, 1))
	})
	if denied.State != "refused" || denied.Rule != "a person" || denied.Message != "alice@example.com denied it" || denied.Next == "" {
		t.Errorf("denied: %s", denied.text)
	}
	if again := talk.call("withdraw", map[string]any{"name": j.name}); again.State != "withdrawn" {
		t.Errorf("cleared away: %s", again.text)
	}
	talk.expectNoCredential()
}

func TestOddInputIsAnsweredInWordsThatHelp(t *testing.T) {
	j := begin(t, "mcp-odd")
	j.allow()
	talk := j.talk("web-app-bot", (*talk).byAnother)
	for words, odd := range map[string]map[string]any{
		"justification has 1000000 characters; at most 1024": j.plea(map[string]any{"justification": strings.Repeat("x", 1_000_000)}),
		"name is \"Pr 184\"": j.plea(map[string]any{"name": "Pr 184"}),
		"there is no field \"secret\"; the fields are capability,": j.plea(map[string]any{"secret": "token"}),
		"service_account is \"../x\"":                              j.plea(map[string]any{"service_account": "../x"}),
		"there is no capability \"valetkey-system\"":               j.plea(map[string]any{"capability": "valetkey-system"}),
		"args are too long":                                        j.plea(map[string]any{"args": slices.Repeat([]string{strings.Repeat("a", 16<<10)}, 5)}),
	} {
		r := talk.call("ask", odd)
		if words == "args are too long" {
			words = "command and args of container step are longer than 65536 bytes"
		}
		if !r.failed || !strings.Contains(r.Message, words) || r.Next == "" || len(r.text) > 3000 {
			t.Errorf("want %s; got %s", words, r.text)
		}
	}
	if r := talk.call("wait", map[string]any{"name": "never"}); r.State != "absent" {
		t.Errorf("%s", r.text)
	}
	list := &v1alpha1.CapabilityRequestList{}
	j.must(j.agent.List(t.Context(), list, client.InNamespace(j.namespace)))
	if slices.ContainsFunc(list.Items, func(r v1alpha1.CapabilityRequest) bool { return r.Spec.Environment == j.name }) {
		t.Error("something was made")
	}
}

func TestAnAgentWithoutRightsIsToldWhichAreMissing(t *testing.T) {
	j := begin(t, "mcp-rightless")
	talk := j.talk("runner", (*talk).byTheSDK)
	if r := talk.call("capabilities", nil); !strings.Contains(r.Next, "no policy lets you ask for anything here") {
		t.Errorf("offered: %s", r.text)
	}
	if r := talk.call("ask", j.plea()); r.State != "refused" || r.Rule != "no policy" {
		t.Errorf("asked: %s", r.text)
	}
	j.allow(func(p *v1alpha1.CapabilityPolicySpec) { p.Requesters[0].Name = "runner" })
	r := talk.call("ask", j.plea())
	if !r.failed || !strings.Contains(r.Message, `User "system:serviceaccount:agents:runner" cannot create resource "capabilityrequests"`) || !strings.Contains(r.Next, "ClusterRole valetkey-requester") {
		t.Errorf("asked: %s", r.text)
	}
	if r := talk.call("wait", map[string]any{"name": "x"}); !r.failed || !strings.Contains(r.Message, "cannot watch resource") {
		t.Errorf("waited: %s", r.text)
	}
}

// TestARequestOutlivesTheOperatorsAbsence: the agent is told that nobody decides, and goes on when somebody does.
func TestARequestOutlivesTheOperatorsAbsence(t *testing.T) {
	j := alone(t, "mcp-absence", nil)
	j.store(j.policy())
	talk := j.talk("web-app-bot", (*talk).byTheSDK)
	if asked := talk.call("ask", j.plea()); asked.failed || asked.State != "asked" || asked.Next != "call wait" {
		t.Fatalf("asked: %s", asked.text)
	}
	if waited := talk.call("wait", map[string]any{"name": j.name, "timeout_seconds": 1}); waited.State != "asked" {
		t.Errorf("waited: %s", waited.text)
	}
	ended := talk.while("wait", map[string]any{"name": j.name, "timeout_seconds": 300}, func() {
		talk.awaitProgress("asked")
		j.operator = j.w.ownOperator(t)
		talk.awaitProgress("running")
		j.finish(corev1.PodFailed)
	})
	if ended.State != "ended" || ended.Outcome != "Failed" {
		t.Errorf("ended: %s", ended.text)
	}
	talk.expectNoCredential()
}

// TestTheServerEndsWhenItIsToldTo: in the middle of a wait.
func TestTheServerEndsWhenItIsToldTo(t *testing.T) {
	j := begin(t, "mcp-term")
	j.allow(byAlice)
	talk := j.talk("web-app-bot", (*talk).byTheSDK)
	talk.call("ask", j.plea())
	waiting, stop := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _, _ = talk.ask(waiting, "wait", map[string]any{"name": j.name, "timeout_seconds": 300}) // its process ends
	}()
	talk.awaitProgress("awaiting_approval")
	j.must(talk.process.Process.Signal(syscall.SIGTERM))
	_ = talk.over() // the process is over, whatever the client makes of it
	if state := talk.process.ProcessState; state == nil || !state.Exited() || state.ExitCode() != 0 {
		t.Errorf("it ended with %s", state)
	}
	stop()
	<-over
}

// talk is an agent's client with the real plugin behind it, and a gate between that and the API server.
type talk struct {
	*journey
	// process is the plugin's.
	process *exec.Cmd
	token   string
	// ask uses a tool, and tools lists them; how depends on the client.
	ask   func(ctx context.Context, tool string, arguments map[string]any) (text string, failed bool, err error)
	tools func() []string
	// over returns when the official client's server has ended.
	over func() error

	progress chan string
	// calls are what the plugin asked of the API server, a line each; heard is all that the client got, complaints what stands on the
	// standard error.
	calls, heard, complaints record
}

// record keeps what is written.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// talk begins one, as a ServiceAccount of the journey's namespace.
func (j *journey) talk(account string, connect func(*talk)) *talk {
	j.Helper()
	k := &talk{journey: j, progress: make(chan string, 1000)}
	g := j.w.apiGate(j.T)
	g.on(func(_ string, r *http.Request, _ []byte) fate {
		fmt.Fprintln(&k.calls, r.Method, r.URL.Path)
		return fate{}
	})
	var err error
	k.token, err = j.w.token(j.Context(), j.namespace, account)
	j.must(err)
	kubeconfig := g.kubeconfig(j.T, j.w)
	config, err := clientcmd.LoadFromFile(kubeconfig)
	j.must(err)
	for user := range config.AuthInfos {
		config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: k.token}
	}
	for _, c := range config.Contexts {
		c.Namespace = j.namespace
	}
	j.must(clientcmd.WriteToFile(*config, kubeconfig))
	// As people have it in their client's configuration: kubectl finds the plugin.
	k.process = exec.Command(j.w.cluster.Kubectl(), "valetkey", "mcp")
	k.process.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+j.w.dir)
	k.process.Stderr = &k.complaints
	k.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	connect(k)
	j.Cleanup(func() {
		if j.Failed() {
			j.Logf("the plugin said:\n%s", k.complaints.String())
		}
	})
	return k
}

// byTheSDK connects the official client.
func (k *talk) byTheSDK() {
	k.Helper()
	c := mcp.NewClient(&mcp.Implementation{Name: "an agent", Version: "1"}, &mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { k.progress <- r.Params.Message }})
	session, err := c.Connect(k.Context(), &mcp.LoggingTransport{Transport: &mcp.CommandTransport{Command: k.process}, Writer: &k.heard}, nil)
	k.must(err)
	k.Cleanup(func() { _ = session.Close() })
	k.over = session.Wait
	k.ask = func(ctx context.Context, tool string, arguments map[string]any) (string, bool, error) {
		params := &mcp.CallToolParams{Name: tool, Arguments: arguments}
		params.SetProgressToken(tool)
		result, err := session.CallTool(ctx, params)
		if err != nil {
			return "", false, err
		}
		return result.Content[0].(*mcp.TextContent).Text, result.IsError, nil
	}
	k.tools = func() []string {
		var names []string
		for tool, err := range session.Tools(k.Context(), nil) {
			k.must(err)
			names = append(names, tool.Name)
		}
		return names
	}
}

// byAnother connects a client of other people's.
func (k *talk) byAnother() {
	k.Helper()
	c := otherclient.NewClient(othertransport.NewStdioWithOptions(k.process.Path, nil, k.process.Args[1:], othertransport.WithCommandStderrWriter(&k.complaints),
		othertransport.WithCommandFunc(func(context.Context, string, []string, []string) (*exec.Cmd, error) {
			k.process.Stderr = nil // it connects its own
			return k.process, nil
		})), otherclient.WithLegacyProtocolOnly()) //nolint:staticcheck // agents of last year speak no other
	k.must(c.Start(k.Context()))
	k.Cleanup(func() { _ = c.Close() })
	c.OnNotification(func(n othermcp.JSONRPCNotification) {
		if message, ok := n.Params.AdditionalFields["message"].(string); ok && n.Method == "notifications/progress" {
			k.progress <- message
		}
	})
	begin := othermcp.InitializeRequest{}
	begin.Params.ClientInfo = othermcp.Implementation{Name: "an agent", Version: "1"}
	_, err := c.Initialize(k.Context(), begin)
	k.must(err)
	k.ask = func(ctx context.Context, tool string, arguments map[string]any) (string, bool, error) {
		request := othermcp.CallToolRequest{}
		request.Params.Name, request.Params.Arguments = tool, arguments
		request.Params.Meta = &othermcp.Meta{ProgressToken: tool}
		result, err := c.CallTool(ctx, request)
		if err != nil {
			return "", false, err
		}
		text, _ := othermcp.AsTextContent(result.Content[0])
		return text.Text, result.IsError, nil
	}
	k.tools = func() []string {
		list, err := c.ListTools(k.Context(), othermcp.ListToolsRequest{})
		k.must(err)
		var names []string
		for _, tool := range list.Tools {
			names = append(names, tool.Name)
		}
		slices.Sort(names)
		return names
	}
}

// heard is an answer, read.
type heard struct {
	text                                         string
	failed                                       bool
	Name, State, Outcome, Rule, Message, Approve string
	Until, Next                                  string
	Change                                       map[string]string
}

// call uses a tool, and prints what was said.
func (k *talk) call(tool string, arguments map[string]any) heard {
	k.Helper()
	text, failed, err := k.ask(k.Context(), tool, arguments)
	if err != nil {
		k.Errorf("%s: %v", tool, err)
		return heard{}
	}
	said, _ := json.Marshal(arguments)
	k.Logf("%s %.300s\n    %s", tool, said, text)
	answer := heard{text: text, failed: failed}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		k.Errorf("%s answers what is no JSON: %v", tool, err)
	}
	fmt.Fprintln(&k.heard, text)
	return answer
}

// while uses a tool that waits, does something meanwhile, and returns the answer.
func (k *talk) while(tool string, arguments map[string]any, meanwhile func()) heard {
	k.Helper()
	answered, done := make(chan heard, 1), make(chan struct{})
	go func() {
		defer close(done)
		answered <- k.call(tool, arguments)
	}()
	k.Cleanup(func() { <-done })
	meanwhile()
	return <-answered
}

// awaitProgress returns when the tool that waits has said something with these words.
func (k *talk) awaitProgress(words string) {
	k.Helper()
	ctx, cancel := context.WithTimeout(k.Context(), patience)
	defer cancel()
	for {
		select {
		case message := <-k.progress:
			k.Logf("    … %s", message)
			if strings.Contains(message, words) {
				return
			}
		case <-ctx.Done():
			k.Fatalf("no progress says %q", words)
		}
	}
}

// plea asks for what the journey's policy allows, under the journey's name.
func (j *journey) plea(edits ...map[string]any) map[string]any {
	all := map[string]any{"capability": j.asks, "repo": "web-app", "environment": j.name, "task": "pr-184", "ttl_seconds": 600, "name": j.name,
		"justification": "Publish the preview build for PR-184", "args": []string{"publish", "previews/web-app/pr-184/index.html"}}
	for _, edit := range edits {
		for k, v := range edit {
			all[k] = v
		}
	}
	return all
}

// typed runs a command, as alice.
func (j *journey) typed(command string) {
	j.Helper()
	kubeconfig, err := j.w.cluster.Kubeconfig("alice@example.com", "release-managers")
	j.must(err)
	words := strings.Fields(command)[1:]
	if out, err := exec.Command(j.w.cluster.Kubectl(), append([]string{"--kubeconfig", kubeconfig}, words...)...).CombinedOutput(); err != nil {
		j.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// expectNoCredential: neither the one that was issued nor the agent's own stands in anything that the client or the standard error got,
// and the plugin called nothing that could hold one.
func (k *talk) expectNoCredential() {
	k.Helper()
	said := k.heard.String() + k.complaints.String()
	if k.w.canary.Stands(said) || strings.Contains(said, k.token) {
		k.Error("a credential was told")
	}
	calls := strings.Split(strings.TrimSpace(k.calls.String()), "\n")
	for _, call := range calls {
		for _, never := range []string{"secrets", "/pods", "/log", "configmaps", "/token", "/exec", "/status"} {
			if strings.Contains(call, never) || call == "" {
				k.Errorf("the plugin called %q", call)
			}
		}
	}
	k.Logf("%d calls, of %d kinds", len(calls), len(slices.Compact(slices.Sorted(slices.Values(calls)))))
}
