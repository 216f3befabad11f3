"""The closed loop: walks are collected, described, sifted, learned from beside controls, and judged; and its page."""
