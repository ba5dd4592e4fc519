def split_words(text):
    return text.lower().split()


def count_words(text):
    counts = {}
    for word in split_words(text):
        counts[word] = counts.get(word, 0) + 1
    return counts


def longest_word(text):
    return max(split_words(text), key=len, default="")
