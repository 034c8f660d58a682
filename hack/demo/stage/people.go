// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Person is somebody who types commands: a user with a real client certificate, or a ServiceAccount with a real token.
type Person struct {
	// Name as the API server knows it.
	Name string
	// Groups of the certificate.
	Groups []string
	// Impersonate are kubectl flags by which an administrator acts as this person.
	Impersonate []string
}

// The people of the story.
var (
	// Admin may do everything.
	Admin = Person{Name: "admin"}
	// Alice is a release manager.
	Alice = Person{Name: "alice@example.com", Groups: []string{"release-managers"}}
	// Agent is the ServiceAccount that an AI agent runs as.
	Agent = Person{Name: "system:serviceaccount:" + Namespace + ":web-app-bot"}
	// AgentWhoMayApprove is the agent with a role that somebody gave it by mistake.
	AgentWhoMayApprove = Person{Name: Agent.Name, Impersonate: []string{"--as=" + Agent.Name, "--as-group=release-managers"}}
)

// Kubectl runs kubectl as a person and returns what it printed. An error carries what it said.
func (s *Stage) Kubectl(ctx context.Context, who Person, args ...string) (string, error) {
	return s.KubectlIn(ctx, who, nil, args...)
}

// KubectlIn is Kubectl with standard input.
func (s *Stage) KubectlIn(ctx context.Context, who Person, in io.Reader, args ...string) (string, error) {
	kubeconfig, err := s.kubeconfig(ctx, who)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, s.Cluster.Kubectl(), slices.Concat([]string{"--kubeconfig", kubeconfig}, who.Impersonate, args)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), &Refusal{Command: args, Words: strings.TrimSpace(stderr.String())}
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Plugin is `kubectl valetkey` as a person types it. It is not started.
func (s *Stage) Plugin(ctx context.Context, who Person, args ...string) (*exec.Cmd, error) {
	if err := s.goBuild(ctx, filepath.Join(s.root, "bin", "kubectl-valetkey"), "./cmd/kubectl-valetkey"); err != nil {
		return nil, err
	}
	kubeconfig, err := s.kubeconfig(ctx, who)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.root, "bin", "kubectl-valetkey"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	return cmd, nil
}

// Refusal is a command that failed, with what it said.
type Refusal struct {
	// Command that failed.
	Command []string
	// Words it said.
	Words string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("kubectl %s: %s", strings.Join(r.Command, " "), r.Words)
}

func (s *Stage) kubeconfig(ctx context.Context, who Person) (string, error) {
	if len(who.Impersonate) > 0 {
		return s.Cluster.Kubeconfig(Admin.Name)
	}
	account, ok := strings.CutPrefix(who.Name, "system:serviceaccount:")
	if !ok {
		return s.Cluster.Kubeconfig(who.Name, who.Groups...)
	}
	namespace, name, _ := strings.Cut(account, ":")
	clients, err := kubernetes.NewForConfig(s.Cluster.AdminConfig())
	if err != nil {
		return "", err
	}
	token, err := clients.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	admin, err := s.Cluster.Kubeconfig("admin")
	if err != nil {
		return "", err
	}
	config, err := clientcmd.LoadFromFile(admin)
	if err != nil {
		return "", err
	}
	for user := range config.AuthInfos {
		config.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	path := filepath.Join(s.dir, "kubeconfig-"+namespace+"-"+name)
	return path, clientcmd.WriteToFile(*config, path)
}
