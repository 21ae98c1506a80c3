package letters

import "testing"

func TestCaseMakesNoDifference(t *testing.T) {
	count, err := Count("Strawberry R", "r")
	if count != 4 || err != nil {
		t.Fatal(count, err)
	}
}

func TestTwoLettersAreRefused(t *testing.T) {
	for _, letter := range []string{"", "ab"} {
		if _, err := Count("text", letter); err == nil {
			t.Fatal(letter)
		}
	}
}
