@order_history @query
Feature: Searching the history
  Consumers find their orders by words, by state and by time, in pages of a size of their choice.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta Kitchen" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |
      | Garlic Naan      | 3.50  |
    And the restaurant "Sakura" with the menu:
      | dish          | price |
      | Chicken Katsu | 11.00 |
      | Crème Brûlée  | 6.00  |
    And "Ada" has ordered "breakfast" at "Sakura":
      | dish         | quantity |
      | Crème Brûlée | 1        |
    And "Ada" has ordered "lunch" at "Ajanta Kitchen":
      | dish             | quantity |
      | Chicken Vindaloo | 1        |
      | Garlic Naan      | 1        |
    And "Ada" has ordered "dinner" at "Sakura":
      | dish          | quantity |
      | Chicken Katsu | 2        |

  Rule: Words find the orders that have all of them

    Scenario: A word of the restaurant's name
      Then looking for "Sakura" in the history of "Ada" finds:
        | order     |
        | dinner    |
        | breakfast |

    Scenario: A word of a dish's name
      Then looking for "Chicken" in the history of "Ada" finds:
        | order  |
        | dinner |
        | lunch  |

    Scenario: Several words, wherever they are
      Then looking for "Chicken Ajanta" in the history of "Ada" finds:
        | order |
        | lunch |

    Scenario: Words that no order has all of
      Then looking for "Vindaloo Sakura" in the history of "Ada" finds nothing

    Scenario: Upper and lower case are the same
      Then looking for "garlic NAAN" in the history of "Ada" finds:
        | order |
        | lunch |

    Scenario: Letters of all languages have cases
      Then looking for "CRÈME" in the history of "Ada" finds:
        | order     |
        | breakfast |

    Scenario Outline: Words of every script are words: "<word>" finds "<restaurant>"
      Given the restaurant "<restaurant>" with the menu:
        | dish | price |
        | Tea  | 1.00  |
      And the restaurant "<other>" with the menu:
        | dish | price |
        | Tea  | 1.00  |
      And "Ada" has ordered "tea" at "<restaurant>":
        | dish | quantity |
        | Tea  | 1        |
      And "Ada" has ordered "more tea" at "<other>":
        | dish | quantity |
        | Tea  | 1        |
      Then looking for "<word>" in the history of "Ada" finds:
        | order |
        | tea   |

      Examples:
        | word     | restaurant  | other      |
        | दाल      | दाल महल     | दिल महल    |
        | மீன்     | மீன் கடை    | மான் கடை   |
        | istanbul | İSTANBUL    | Isparta    |
        | 寿司     | 東京寿司店  | 東京料理店 |
        | ต้มยำ    | ร้านต้มยำ   | ร้านต้มข่า |

    Scenario: Half a word finds nothing
      Then looking for "Chick" in the history of "Ada" finds nothing

    Scenario: A dish that was taken off the order is not found any more
      When "Ada" revises the order "lunch" to:
        | dish        | quantity |
        | Garlic Naan | 0        |
      Then looking for "Naan" in the history of "Ada" finds nothing
      And looking for "Vindaloo" in the history of "Ada" finds:
        | order |
        | lunch |

    Scenario: Words find nobody else's orders
      Given the consumer "Grace"
      Then looking for "Chicken" in the history of "Grace" finds nothing

  Rule: Orders are found by their state

    Background:
      Given "Ada" has cancelled the order "lunch"

    Scenario: The approved ones
      Then the history of "Ada" shows that these are approved:
        | order     |
        | dinner    |
        | breakfast |

    Scenario: The cancelled ones
      Then the history of "Ada" shows that these are cancelled:
        | order |
        | lunch |

    Scenario: A state that none are in
      Then the history of "Ada" shows that none are rejected

    Scenario: A state that does not exist
      When "Ada" looks for orders in a state that does not exist
      Then it is refused because the state is not valid

  Rule: Orders are found by their time

    Scenario: Since an order that was placed
      Then the history of "Ada" since the order "lunch" shows:
        | order  |
        | dinner |
        | lunch  |

  Rule: A long history comes in pages

    Background:
      Given the history of "Ada" has all 3 orders

    Scenario: From page to page
      When "Ada" opens their history, 2 orders to a page
      Then the page shows:
        | order  |
        | dinner |
        | lunch  |
      When the next page is opened
      Then the page shows:
        | order     |
        | breakfast |
      And it is the last page

    Scenario: A page that takes all is the last
      When "Ada" opens their history, 3 orders to a page
      Then the page shows:
        | order     |
        | dinner    |
        | lunch     |
        | breakfast |
      And it is the last page

    Scenario: Pages neither repeat nor skip anything while orders arrive
      Given "Ada" has opened their history, 2 orders to a page
      And "Ada" has ordered "supper" at "Sakura":
        | dish          | quantity |
        | Chicken Katsu | 1        |
      And the history of "Ada" has all 4 orders
      When the next page is opened
      Then the page shows:
        | order     |
        | breakfast |
      And it is the last page

    Scenario Outline: A page of <size> orders
      When "Ada" opens their history, <size> orders to a page
      Then it is refused because the page size is not valid

      Examples:
        | size |
        | 0    |
        | 51   |
