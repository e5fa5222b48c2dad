package frame

// The probe looks at 16 stretches of 512 bytes.
const (
	stretches = 16
	stretch   = 512
	// randomBelow is the highest sum of squared byte counts that still counts as random. 8192 uniformly random bytes give
	// 8192²/256 + 8192 = 270,336 with a deviation of about 740; text, floats and pages give far more than 290,000.
	randomBelow = 273500
)

// looksRandom tells cheaply whether src is encrypted or compressed already, by how evenly its bytes are used. A wrong
// answer costs space or time, never data.
func looksRandom(src []byte) bool {
	if len(src) < stretches*stretch {
		return false
	}
	var count [256]uint32
	step := (len(src) - stretch) / (stretches - 1)
	for s := range stretches {
		for _, b := range src[s*step : s*step+stretch] {
			count[b]++
		}
	}
	var sum uint32
	for _, c := range count {
		sum += c * c
	}
	return sum < randomBelow
}
