package chaos

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Step is one thing that is done to the cluster. Its text is a line: how long to wait before it, what, and to whom.
//
//	0.4s kill kubelet
//	0s create p17 region nlb3
//	1.2s settle
type Step struct {
	Pause  time.Duration
	Action string
	Args   []string
}

// String is the step's line; ParseSteps reads it.
func (s Step) String() string {
	return strings.Join(append([]string{s.Pause.String(), s.Action}, s.Args...), " ")
}

// settle is the action that mends everything and waits until the cluster is well.
const settle = "settle"

// syntax is every action with what may follow it. An argument that is a list in the generator is any word here: a
// cluster has what it has.
var syntax = map[string]int{
	"create": 3, // pod, kind, function
	"delete": 1, // pod
	"kill":   1, // program
	"start":  1, // program of the cluster
	"freeze": 1, // program
	"thaw":   1, // program

	"nri-socket": 1, // gone, back
	"fill":       1, // folder
	"empty":      1, // folder
	"fault":      2, // device, what
	"heal":       1, // device
	"bitstream":  2, // function, what
	"clock":      1, // ahead, behind, right
	"map":        1, // mapping
	"unmap":      1, // mapping
	"turn":       0, // the mapping "either" leads to the other function
	"restart":    0, // kubectl rollout restart
	"upgrade":    0, // the DaemonSet's other version
	settle:       0,
}

// ParseSteps reads steps, a line each; empty lines and what follows # are left out.
func ParseSteps(text string) ([]Step, error) {
	var steps []Step
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		step, err := parseStep(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		steps = append(steps, step)
	}
	return steps, lines.Err()
}

func parseStep(words []string) (Step, error) {
	pause, err := time.ParseDuration(words[0])
	if err != nil || pause < 0 {
		return Step{}, fmt.Errorf("%q: want how long to wait, as 0.4s", words[0])
	}
	if len(words) < 2 {
		return Step{}, fmt.Errorf("%q: nothing to do", words[0])
	}
	want, known := syntax[words[1]]
	if !known {
		return Step{}, fmt.Errorf("%q is no action", words[1])
	}
	if len(words)-2 != want {
		return Step{}, fmt.Errorf("%s: want %d arguments, got %q", words[1], want, words[2:])
	}
	return Step{Pause: pause, Action: words[1], Args: slices.Clip(words[2:])}, nil
}

// Text is steps as ParseSteps reads them.
func Text(steps []Step) string {
	var s strings.Builder
	for _, step := range steps {
		s.WriteString(step.String() + "\n")
	}
	return s.String()
}
